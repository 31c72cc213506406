"""Call a method of a Java object: by which overload, in which way, and what is made of the answer."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

from aiomm.bridge import lost_text, overloads, reflection, wire
from aiomm.bridge.handle import Handle
from aiomm.bridge.iteration import unsigned
from aiomm.bridge.usable import check_lives, objects_in
from aiomm.errors import BridgeError, ClosedError, JavaException, OverloadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiomm.bridge.calls import Method
    from aiomm.bridge.line import Line
    from aiomm.bridge.members import Members
    from aiomm.bridge.session import Session
    from aiomm.bridge.wire import Signature

__all__ = ["Callee", "check_usable"]


class Callee(Handle):
    """A Java object whose methods can be called; the rest of it is `JavaObject`'s."""

    __slots__ = ("_head", "_line", "_released")

    _head: bytes
    _line: Line
    _released: bool
    _members: ClassVar[Members]

    async def _run(self, method: Method, args: tuple[Any, ...]) -> Any:
        line = self._checked()
        written = method.written(self._head, args)
        if written is None:
            check_usable(args, line.session)
            signature, values, value = await self._chosen(method, args)
        else:  # most calls of a core: between them and the port stands nothing that is not needed
            signature, values, frames = written
            try:
                value = await line.exchange(frames, line.session.call_timeout, signature.name, reads=method.reads)
            except JavaException as error:
                if _refused(error):
                    value = await self._reflected(signature, values, ())
                elif reflection.not_found(error) and await self._narrowed(method, signature):
                    signature, values, value = await self._chosen(method, args)
                else:
                    raise self._members.explained(error, signature) from None
        kind = type(value)
        if kind is float:
            return value
        if kind is int:  # or a double that Java wrote without its point
            return wire.convert_return(value, signature.returns)
        if kind is wire.Shadow:
            return await line.session.give(value, line)
        if method.pixels:
            return unsigned(value)
        if (kind is str and "?" in value) or kind is wire.DoubtfulJson:
            return await lost_text.whole_result(line, self, self._members.is_class, signature, values, value)
        return value

    async def _chosen(self, method: Method, args: tuple[Any, ...]) -> tuple[Signature, Sequence[Any], Any]:
        """Choose an overload and call it: give it, what was sent, and what came back."""
        line, known = self._checked(), method.signatures
        try:
            signature, values = method.choose(args)
        except OverloadError:
            if overloads.some_take(known, args):
                await self._learn_public(method, line.session.call_timeout)
            else:  # it is for the words of the error alone, which is not to wait for long
                with contextlib.suppress(BridgeError):
                    await self._learn_public(method, line.session.timeout)
            if method.signatures == known:
                raise
            signature, values = method.choose(args)
        try:
            return signature, values, await self._send(signature, values, method)
        except OverloadError:  # of a plan that did not come to the call
            if not await self._narrowed(method, signature):
                raise
        except JavaException as error:
            if not reflection.not_found(error) or not await self._narrowed(method, signature):
                raise self._members.explained(error, signature) from None
        return await self._chosen(method, args)

    async def _narrowed(self, method: Method, signature: Signature) -> bool:
        """Whether a method that was not called is not public, so that another is to be chosen."""
        await self._learn_public(method, self._line.session.call_timeout)
        return signature not in method.signatures

    async def _learn_public(self, method: Method, timeout: float | None) -> None:
        """Leave out the overloads that are not public, which the server lists too; Java is asked once for each class."""
        members, line = self._members, self._checked()
        if members.public is None:
            what = f"the public methods of {members.java_class}"
            with contextlib.suppress(JavaException):
                members.public = await line.follow(reflection.public_methods(self, members.is_class), timeout, what)
        method.narrow(members)

    async def _send(self, signature: Signature, values: Sequence[Any], method: Method) -> Any:
        """Call with any values, and give what came back."""
        if not method.plain(signature, values):
            return await self._reflected(signature, values, method.signatures if wire.beside_binary(list(values)) is None else ())
        line = self._checked()
        try:
            message = wire.run_method(self, self._members.is_class, signature, values)
            return await line.call(message, line.session.call_timeout, signature.name)
        except JavaException as error:
            if not _refused(error):
                raise
            return await self._reflected(signature, values, ())

    async def _reflected(self, signature: Signature, values: Sequence[Any], others: Sequence[Signature]) -> Any:
        line = self._checked()
        plan = reflection.call(self, self._members.is_class, signature, values, others)
        return await line.follow(plan, line.session.call_timeout, signature.name)

    def _checked(self) -> Line:
        if self._released:
            raise ClosedError(f"{self!r} was released")
        return self._line


def _refused(error: JavaException) -> bool:
    """Whether the method was not run, because Java keeps its class to itself: reflection through an interface does it."""
    return error.java_class == "java.lang.reflect.InaccessibleObjectException" and reflection.not_run(error)


def check_usable(values: Iterable[Any], session: Session) -> None:
    """See that each Java object among the values, in a list or a dict too, lives where they are sent.

    Raises
    ------
    ClosedError, ServerLostError
        One was released, or its bridge is closed, or the server of it gone.
    JavaValueError
        It lives in another Micro-Manager.
    """
    for obj in objects_in(values):
        if isinstance(obj, Callee):
            check_lives(obj, obj._checked().session, session)  # noqa: SLF001
