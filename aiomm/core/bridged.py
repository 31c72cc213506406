"""A microscope in a running Micro-Manager: the typed core over Java's own, through the bridge."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from aiomm.bridge import JavaObject, bridge_of, part_of_a_call, register_proxy
from aiomm.core import java_halt
from aiomm.core.api import Core
from aiomm.core.calls import in_sequence, named_camera
from aiomm.core.finish import finish
from aiomm.core.java_calls import RECIPES, Recipe, recipe_of
from aiomm.core.java_events import JavaEvents
from aiomm.core.java_live import JavaFeed
from aiomm.core.live import LiveView
from aiomm.core.names import snake_case
from aiomm.core.translate import device_of, wrong_arguments
from aiomm.errors import AiommError, BridgeTimeoutError, CoreError, JavaException, OverloadError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


class _Driven:
    """What the cores of one bridge have in common: they are the same microscope."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.snapping = asyncio.Lock()
        self.opening = asyncio.Lock()
        self.stopper: java_halt.Stopper | None = None


class BridgedCore(JavaObject, Core):
    """MMCore in a running Micro-Manager; made by ``await bridge.get_core()``.

    Its methods in snake_case are those of `Core`: the same arguments, results and errors as of a `LocalCore`, whatever
    Java's types are. Java's own methods keep Java's spelling and Java's values: ``await core.getTaggedImage()`` gives a
    `JavaObject` with the fields ``pix`` and ``tags``.

    ::

        async with aiomm.Bridge() as bridge:
            core = await bridge.get_core()
            await core.set_exposure(10)
            image = await core.snap()

    Calls on one port follow one another: with ``await bridge.get_core(new_socket=True)``, long ones hold up no others.

    Raises
    ------
    CoreError
        From each method: MMCore or a device refused. Its cause is the `JavaException`.
    UnsupportedError
        This version of Micro-Manager has no such method.
    """

    async def call_core(self, method: str, args: tuple[Any, ...]) -> Any:
        """Call a method by MMCore's name, as the snake_case methods do."""
        recipe = RECIPES.get(method) or recipe_of(method)
        given = args
        try:
            if not recipe.reads:
                await self._prepare(recipe, args)
            if recipe.twin is not None:
                return await recipe.twin(self, *args)
            if recipe.makers and (makers := recipe.makers.get(len(args))) is not None:
                args = tuple([await makers[k](self, arg) if k in makers else arg for k, arg in enumerate(args)])
            found = self._find(method)
            if found is None:
                raise _Missing
            value = await self._run(found, args)
            if recipe.reader is not None and isinstance(value, JavaObject):
                return await recipe.reader(value)
            return value if recipe.plain is None or isinstance(value, JavaObject) else recipe.plain(value)
        except (JavaException, TypeError, _Missing) as error:
            raise await self._translated(error, recipe, given) from error

    async def snap(self) -> NDArray[Any]:
        """Expose, and give the image: (y, x), or (y, x, 3) in the order red, green, blue.

        Snaps of several tasks follow one another: each gets its own image.
        """
        async with self._driven().snapping:
            await self.call_core("snapImage", ())
            return await self.call_core("getImage", ())  # type: ignore[no-any-return]

    # ---- looking and listening ----------------------------------------------------------------------------------

    def live(self, exposure: float | None = None) -> LiveView:
        """Look through the camera: an async iterator over its newest frames; see `LocalCore.live`.

        It has a port of its own, so other calls do not hold it up. Java does not tell of new frames: while somebody
        waits for one, it is asked every few milliseconds.

        Parameters
        ----------
        exposure : float, optional
            Exposure in ms while it runs.
        """
        return LiveView(partial(JavaFeed, self, self._driven().turn), exposure)

    def events(self, kinds: Iterable[str] | str | None = None, *, buffer: int = 1000) -> JavaEvents:
        """Listen to MMCore's notifications; see `LocalCore.events`.

        Parameters
        ----------
        kinds : str or iterable of str, optional
            Only these kinds, as named in `CoreNotification`. All by default.
        buffer : int
            How many may wait to be taken; then the oldest is dropped and counted.

        Raises
        ------
        UnsupportedError
            Micro-Manager's server does not pass on notifications of this kind.
        """
        return JavaEvents(bridge_of(self), kinds, buffer)

    @property
    def users(self) -> set[JavaFeed]:
        """The live views that drive this microscope now."""
        return {user for user in bridge_of(self).users if isinstance(user, JavaFeed)}

    # ---- the ends -----------------------------------------------------------------------------------------------

    async def halt(self, timeout: float = 2.0) -> None:
        """Stop everything now: end live views, close the shutters, stop stages and camera sequences.

        It has a port of its own, which is opened before the first call here that changes something, so that it does not
        queue behind that call. The drivers' own locks remain; see `LocalCore.halt`.

        Parameters
        ----------
        timeout : float
            How long to try, in s. What waits for a lock is still stopped once the lock is free.

        Raises
        ------
        CoreError
            Something could not be stopped in time; it says what and why.
        """
        users = self.users
        for user in users:
            user.abort()
        await java_halt.halt(self._stopper(), users, timeout)

    async def run(self, fn: Any, /, *args: Any, reads: bool = False) -> Any:
        """Refuse: there is no raw core in this process."""
        raise UnsupportedError(
            "run() gives a function the raw core, and here that is in another process, Micro-Manager's: "
            "await this core's methods one by one, or use a LocalCore"
        )

    async def aclose(self) -> None:
        """End live views that this core drives, and let go of Java's core. Again and again does no harm."""
        try:
            for user in [user for user in self.users if user.core is self]:
                await finish(asyncio.ensure_future(user.abort_for_close()))
        finally:
            await super().aclose()

    # ---- within -------------------------------------------------------------------------------------------------

    def _driven(self) -> _Driven:
        bridge = bridge_of(self)
        found: _Driven | None = bridge.kept.get("core")
        if found is None:
            found = bridge.kept["core"] = _Driven()
        return found

    async def _stopper(self) -> java_halt.Stopper:
        """Give the way past a call in progress; opened once for each bridge."""
        driven = self._driven()
        if driven.stopper is None:
            async with driven.opening:
                if driven.stopper is None:
                    driven.stopper = await java_halt.Stopper.open(bridge_of(self), self)
        return driven.stopper

    async def _prepare(self, recipe: Recipe, args: tuple[Any, ...]) -> None:
        """Before a call that changes something: `halt` can come past it, and no running sequence would be spoilt."""
        if self._driven().stopper is None:
            try:
                with part_of_a_call():
                    await self._stopper()
            except BridgeTimeoutError as error:
                raise BridgeTimeoutError(f"{recipe.method}: {error}") from None
        if recipe.guarded:
            camera = named_camera(recipe.method, args)
            try:
                running = await self.call("isSequenceRunning", () if camera is None else (camera,))
            except (JavaException, TypeError):
                return  # no such camera: MMCore will say so
            if running:
                raise in_sequence(recipe.method, args, camera or await self.call("getCameraDevice", ()))

    async def _translated(self, error: Exception, recipe: Recipe, args: tuple[Any, ...]) -> Exception:
        method = recipe.method
        if isinstance(error, JavaException):
            text = (error.java_message or str(error)).strip()
            return CoreError(text, method=method, arguments=args, device=device_of(text, args, recipe.forms))
        # A form that pymmcore has, and no form of Java's takes so many arguments: it is not the arguments that are wrong.
        no_form = isinstance(error, OverloadError) and len(args) in recipe.counts and not _has_form(error, len(args))
        if no_form or isinstance(error, _Missing):
            version = "MMCore"
            with contextlib.suppress(AiommError):
                version = str(await self.call("getVersionInfo"))
            what = f"no {method}" if isinstance(error, _Missing) else f"no {method} with {len(args)} arguments"
            return UnsupportedError(f"{snake_case(method)}: {version} in this Micro-Manager has {what}")
        return wrong_arguments(error, method, args, recipe.forms)


def _has_form(error: OverloadError, count: int) -> bool:
    """Whether one of the candidates, ``name(String, double)``, takes so many arguments."""
    listed = [candidate.partition("(")[2].rpartition(")")[0] for candidate in error.candidates]
    return count in [len(one.split(",")) if one.strip() else 0 for one in listed]


class _Missing(Exception):
    """Java's core has no such method."""


register_proxy("mmcorej.CMMCore", BridgedCore)
