"""A gate behind a hook that Micro-Manager's engine calls: what goes on is the event itself, what the hook made of it, or nothing.

Java's class for hooks of another process cannot answer "nothing", and makes every event anew from the text that it has sent, in
which times have lost their fractions. So three hooks more stand around it, all made of the JDK's own `java.beans.EventHandler`: one
puts what comes on a stack, one what the remote hook has answered, and the last gives what lies at the bottom. While Java waits for
the answer, that is arranged from here. Java's engine skips an event for which it gets nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiomm.bridge import Bridge, JavaObject

__all__ = ["Gate"]

INTERFACE: Final = "org.micromanager.acqj.api.AcquisitionHook"
HANDLERS: Final = "java.beans.EventHandler"
STACK: Final = "java.util.Stack"
METHOD: Final = "run"  # of a hook; to close the gate's, which hold nothing, does nothing


class Gate:
    """The gate behind one hook; made by `open`.

    Parameters
    ----------
    stack, nothing
        In Java; the other stack has one null.
    hooks
        What stands before the hook, and what behind it.

    Attributes
    ----------
    objects : list of JavaObject
        To be released when the acquisition has ended.
    """

    def __init__(self, stack: JavaObject, nothing: JavaObject, hooks: tuple[list[JavaObject], list[JavaObject]]) -> None:
        self._stack = stack
        self._nothing = nothing
        self._hooks = hooks
        self._old = 0  # what lies on the stack of the event before
        self._shut = False
        self._lock = asyncio.Lock()
        self.objects: list[JavaObject] = [stack, nothing, *hooks[0], *hooks[1]]

    @classmethod
    async def open(cls, bridge: Bridge, *, lets_through: bool) -> Gate:
        """Make one in Java.

        Parameters
        ----------
        bridge
            To the running Micro-Manager.
        lets_through
            Whether it decides what goes on; else it only keeps the event as it came, and the answer goes on.

        Raises
        ------
        BridgeError
            Java refuses, or is gone.
        """
        kind = await bridge.get_java_class(INTERFACE)
        handlers = await bridge.get_java_class(HANDLERS)
        stack = await bridge.construct_java_object(STACK)
        before = [await handlers.call("create", [kind, stack, "push", "", METHOD])]
        behind: list[JavaObject] = []
        if lets_through:
            behind.append(await handlers.call("create", [kind, stack, "push", "", METHOD]))
            behind.append(await handlers.call("create", [kind, stack, "firstElement", None, METHOD]))
        nothing = await bridge.construct_java_object(STACK)
        await nothing.call("setSize", [1])
        self = cls(stack, nothing, (before, behind))
        self.objects += [kind, handlers]
        return self

    def around(self, hook: JavaObject) -> list[JavaObject]:
        """Give the hooks to add, in this order."""
        before, behind = self._hooks
        return [*before, hook, *behind]

    async def event(self) -> JavaObject:
        """Give Java's event about which the hook was asked."""
        event: JavaObject = await self._stack.call("peek")
        return event

    async def go_on(self) -> None:
        """The event goes on as it is, whatever the answer."""
        async with self._lock:
            if not self._shut:
                old, self._old = self._old, 2
                for _ in range(old):
                    await self._stack.call("removeElementAt", [0])

    async def change(self) -> None:
        """What the hook answers next goes on."""
        async with self._lock:
            if not self._shut:
                self._old = 1
                await self._stack.call("setSize", [0])

    async def skip(self) -> None:
        """Nothing goes on."""
        async with self._lock:
            if not self._shut:
                self._old = 2
                for size in (0, 1):  # a stack that grows so has null; Java waits meanwhile
                    await self._stack.call("setSize", [size])

    async def shut(self) -> None:
        """Nothing goes on from now on, whoever answers."""
        async with self._lock:
            self._shut = True
            await self._stack.call("addAll", [0, self._nothing])  # in one step: Java may look at any moment
