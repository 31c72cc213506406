"""One acquisition of Micro-Manager's engine: its Java objects and its sockets, and their end. No logic of events."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiomm.acquire.mailbox import outlast
from aiomm.acquire.remote.ending import close_unused, end_unstarted, expose_no_more, force_end, quietly, unwrapped
from aiomm.acquire.remote.events import excuse, write_events
from aiomm.acquire.remote.gate import Gate
from aiomm.acquire.remote.pipes import HookPipe, ImagePipe, Notices
from aiomm.bridge import wire
from aiomm.bridge.channels import channels_of
from aiomm.errors import (
    AcquisitionAborted,
    AiommError,
    BridgeError,
    BridgeTimeoutError,
    ClosedError,
    JavaException,
    ServerLostError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.bridge import Bridge, JavaObject
    from aiomm.bridge.channels import Channels
    from aiomm.bridge.streams import PullSocket, PushSocket

__all__ = ["JavaSession", "Wanted"]

log = logging.getLogger("aiomm")

FACTORY: Final = "org.micromanager.remote.RemoteAcquisitionFactory"
NOTIFICATIONS: Final = "org.micromanager.remote.RemoteNotificationHandler"
PROCESSOR: Final = "org.micromanager.remote.RemoteImageProcessor"
HOOK: Final = "org.micromanager.remote.RemoteAcqHook"
HOOKS: Final = {"event_generation": 0, "pre_hardware": 1, "post_hardware": 3, "post_camera": 4}
"""Java's numbers of the hooks; of each, whether it exposes next is a matter of `_EXPOSES`."""

_GATED: Final = frozenset({"event_generation", "pre_hardware", "post_hardware"})
_GATED_OURS: Final = frozenset({"post_hardware"})  # the others run before anything is sent
_EXPOSES: Final = frozenset({"pre_hardware", "post_hardware"})
_ATTEMPTS: Final = 3
_FIRST_EVENTS: Final = 5.0  # s that Java may take to connect for events; it tries each tenth of a second
_MESSAGES: Final = 16  # that wait on the way to Java
_IMAGES: Final = 4
_END: Final = {"events": [{"special": "acquisition-end"}]}
_NUMBERED: Final = re.compile(r"_[0-9]+$")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make in Java.

    Attributes
    ----------
    directory, name : str or None
        Where Java saves; None keeps images in Java's memory.
    show_viewer : bool
        Whether Java opens its viewer, if it has a screen.
    queue_size : int
        How many images may wait in Java to be saved.
    debug : bool
        Whether Java's engine logs what it does.
    hooks : frozenset of str
        Those to attach in Java, of ``event_generation``, ``pre_hardware``, ``post_hardware``, ``post_camera``.
    images : bool
        Whether Java's images come here.
    tiling : (int, int, int or None) or None
        Overlap in x and y (px), and the highest level of resolution: an acquisition of tiles.
    gated : bool
        Whether a gate says for each event what becomes of it after the post_hardware hook, in an acquisition of our own.
    """

    directory: str | None
    name: str | None
    show_viewer: bool
    queue_size: int
    debug: bool
    hooks: frozenset[str]
    images: bool
    tiling: tuple[int, int, int | None] | None
    gated: bool = False


class JavaSession:
    """One acquisition of Micro-Manager's engine; made by `open`.

    Attributes
    ----------
    acquisition : JavaObject
        Java's acquisition.
    path : Path or None
        Folder of the dataset; None in Java's memory.
    summary : dict
        Java's summary metadata.
    notices : Notices
        What Java's engine tells by itself: an async iterator. It ends after the last two; ServerLostError when the server is gone.
    hooks : dict of HookPipe
        By name.
    viewer : JavaObject or None
        Java's viewer of this acquisition, if there is one.
    gates : dict of Gate
        Of those hooks that an acquisition of Micro-Manager's own making runs; of one of ours, see `Wanted`.
    images : ImagePipe or None
        Images from Java and back.
    lost : BridgeError or None
        Why nothing more can be had of Java.
    gone : asyncio.Future
        Gets that error as soon as the server is gone; None if the session was closed before.
    """

    acquisition: JavaObject
    notices: Notices

    def __init__(self, bridge: Bridge, wanted: Wanted) -> None:
        self._bridge = bridge
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self.path: Path | None = None
        self.summary: dict[str, Any] = {}
        self.hooks: dict[str, HookPipe] = {}
        self.images: ImagePipe | None = None
        self.lost: BridgeError | None = None
        self.gone: asyncio.Future[BridgeError | None] = self._loop.create_future()
        self._owned: list[JavaObject] = []
        self._ours = True
        self._channels: Channels
        self._handler: JavaObject | None = None
        self._listens: list[int] = []  # ports at which Java listens for this acquisition
        self._events: PushSocket | None = None
        self._ahead: tuple[int, PushSocket] | None = None  # where Java will probably look for events
        self._event_port = -1
        self.viewer: JavaObject | None = None
        self._shows = False
        self.gates: dict[str, Gate] = {}
        self._started = self._connected = False  # events were sent; Java has connected for them
        self._end_said = False
        self._aborting: asyncio.Task[None] | None = None
        self._generation: JavaObject | None = None  # the event_generation hook of ours: closed from here where Java was kept from it
        self._closing: asyncio.Task[None] | None = None

    # ---- opening ------------------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, bridge: Bridge, wanted: Wanted, *, existing: JavaObject | None = None) -> JavaSession:
        """Make an acquisition in Java and connect to it; a failure or cancellation half-way ends and releases all that was made.

        Parameters
        ----------
        bridge
            To the running Micro-Manager.
        wanted
            What to make.
        existing
            An acquisition that Micro-Manager has made: it gets our hooks and is listened to, and takes its events from elsewhere.

        Raises
        ------
        BridgeError
            Java throws, does not answer, or is gone; or a port cannot be used.
        UnsupportedError
            Java cannot make this.
        """
        self = cls(bridge, wanted)
        building = self._loop.create_task(self._build(existing), name="aiomm: open an acquisition of Micro-Manager")
        try:
            # Not cancelled in the middle of a call that makes something: what nobody heard of could not be ended.
            await asyncio.wait([building])
            building.result()
        except BaseException:
            self._closing = self._loop.create_task(self._undo(building), name="aiomm: end an acquisition of Micro-Manager")
            await self._outlast(self._closing)
            raise
        return self

    async def _undo(self, building: asyncio.Task[None]) -> None:
        if not building.done():
            await asyncio.wait([building], timeout=self._bridge_timeout())
            building.cancel()
            await asyncio.wait([building])
        if not building.cancelled():
            building.exception()
        await self._close()

    def _bridge_timeout(self) -> float:
        return self._channels.timeout if hasattr(self, "_channels") else 0.5

    async def _build(self, existing: JavaObject | None) -> None:
        if existing is None:
            await self._create()
            await self._listen_for_events()  # at once: a number that is held in vain is in the way of what Java makes next
        else:
            self._ours = False
            self.acquisition = existing
            self._owned.append(existing)
            self._channels = channels_of(existing)
        await self._listen()
        if self._wanted.images:
            await self._add_images()
        for name in HOOKS:
            if name in self._wanted.hooks:
                await self._add_hook(name)
        await self._find_storage()

    async def _create(self) -> None:
        wanted, bridge = self._wanted, self._bridge
        if wanted.tiling is not None and (wanted.directory is None or wanted.name is None):
            raise UnsupportedError("Micro-Manager's engine saves tiles to disk only: give directory and name")
        if unknown := wanted.hooks.difference(HOOKS):
            raise ValueError(f"hooks: there is no {', '.join(sorted(unknown))}; Java's are {', '.join(HOOKS)}")
        viewer = self._shows = wanted.show_viewer and await self._has_screen()
        core = await bridge.get_core()
        self._channels = channels_of(core)
        factory = await bridge.construct_java_object(FACTORY, new_socket=True, args=[core])
        self._owned.append(factory)
        await self._channels.free()
        self._ahead = self._channels.push_ahead(factory, queue=_MESSAGES)
        arguments: list[Any]
        method, arguments = "createAcquisition", [wanted.directory, wanted.name, viewer]
        if wanted.tiling is not None:
            x, y, level = wanted.tiling
            method, arguments = "createTiledAcquisition", [*arguments, True, x, y, -1 if level is None else level]
        try:
            self.acquisition = await factory.call(method, [*arguments, wanted.queue_size, wanted.debug])
        except JavaException:
            await self._end_half()
            raise
        self._owned.append(self.acquisition)

    async def _end_half(self) -> None:
        """Java could not make the acquisition, but waits for its events already, and would for ever."""
        if self._ahead is not None:
            with contextlib.suppress(BridgeError):
                await self._ahead[1].send(wire.encode(_END), timeout=self._channels.timeout)

    async def _listen_for_events(self) -> None:
        """Be where Java looks for its events; if it is not where it was thought to look, it takes up to 0.2 s to find us."""
        self._event_port = await self._asked(self.acquisition, "getEventPort")
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == self._event_port:
            self._events = ahead[1]
            return
        if ahead is not None:
            ahead[1].close()
        self._events = await self._channels.push(self._event_port, queue=_MESSAGES)

    async def _has_screen(self) -> bool:
        # Asked first: Java refuses the viewer when the acquisition is half made, and never lets go of that half.
        screen = await self._bridge.get_java_class("java.awt.GraphicsEnvironment")
        try:
            if not await screen.call("isHeadless"):
                return True
        finally:
            await screen.aclose()
        log.info("show_display: this Micro-Manager runs without a screen, so its viewer is not opened")
        return False

    async def _listen(self) -> None:
        await self._channels.free()
        # At a port of its own: when Java fails to listen for it, asking where it listens never ends.
        handler = await self._bridge.construct_java_object(NOTIFICATIONS, new_socket=True, args=[self.acquisition])
        self._owned.append(handler)
        self._handler = handler
        pull = await self._pull(await self._asked(handler, "getPort"), 1000, self._lose_server)
        on_disk = self._wanted.directory is not None if self._ours else True
        self.notices = Notices(pull, on_disk=on_disk, handled=self._handled)
        await handler.call("start")

    async def _add_images(self) -> None:
        processor, pull, push = await self._reached(PROCESSOR, [], _IMAGES)
        try:
            await self.acquisition.call("addImageProcessor", [processor])
        except BaseException:
            pull.close()
            push.close()
            raise
        self.images = ImagePipe(pull, push)
        await processor.call("startPull")
        await processor.call("startPush")

    async def _add_hook(self, name: str) -> None:
        hook, pull, push = await self._reached(HOOK, [self.acquisition], _MESSAGES)
        pipe = HookPipe(name, pull, push, functools.partial(excuse, exposes=name in _EXPOSES))
        try:
            for each in await self._gated(name, hook):
                await self.acquisition.call("addHook", [each, HOOKS[name]])
        except BaseException:
            await pipe.aclose()
            await quietly(hook.call("close"))
            raise
        self.hooks[name] = pipe
        if self._ours and name == "event_generation":
            self._generation = hook

    async def _gated(self, name: str, hook: JavaObject) -> list[JavaObject]:
        """Put a gate around a hook whose answer is not all that is to be said."""
        if name not in (_GATED if not self._ours else _GATED_OURS if self._wanted.gated else ()):
            return [hook]
        gate = self.gates[name] = await Gate.open(self._bridge, lets_through=name in _EXPOSES)
        self._owned += gate.objects
        return gate.around(hook)

    async def start(self) -> None:
        """Start an acquisition that Micro-Manager has made; one of ours starts with its first events."""
        self._started = True
        if not await self.acquisition.call("isStarted"):
            await self.acquisition.call("start")

    async def _reached(self, classpath: str, args: list[Any], queue: int) -> tuple[JavaObject, PullSocket, PushSocket]:
        """Make an object that listens at one port and connects to another, and the sockets for both."""
        refused: list[JavaObject] = []
        try:
            while True:
                try:
                    await self._channels.free()
                    made = await self._bridge.construct_java_object(classpath, args=args)
                    self._owned.append(made)
                    refused.append(made)
                    push = await self._channels.push(await self._asked(made, "getPullPort"), queue=queue)
                    try:
                        pull = await self._pull(await self._asked(made, "getPushPort"), queue)
                    except BaseException:
                        push.close()
                        raise
                except BridgeError as error:
                    if isinstance(error, ServerLostError) or len(refused) == _ATTEMPTS or not _port_trouble(error):
                        raise
                else:
                    refused.pop()
                    return made, pull, push
        finally:
            for unused in refused:  # together: the next one would have got their ports
                await close_unused(unused)

    async def _pull(self, port: int, queue: int, lost: Callable[[], None] | None = None) -> PullSocket:
        self._listens.append(port)
        return await self._channels.pull(port, queue=queue, lost=lost)

    async def _asked(self, obj: JavaObject, method: str) -> int:
        try:
            async with asyncio.timeout(self._channels.timeout):
                found: int = await obj.call(method)
        except BridgeError:
            raise
        except TimeoutError:
            raise BridgeTimeoutError(f"{method}: no reply within {self._channels.timeout:g} s; the port may be another program's") from None
        return found

    async def _find_storage(self) -> None:
        if not self._ours:
            self.summary = await self.acquisition.call("getSummaryMetadata")
        sink = await self.acquisition.call("getDataSink")
        if sink is None:
            return
        self._owned.append(sink)
        if self._shows or not self._ours:
            self.viewer = await sink.call("getViewer")  # stays when the acquisition has ended
        storage = await sink.call("getStorage")
        self._owned.append(storage)
        self.summary = await storage.call("getSummaryMetadata")
        where = await storage.call("getDiskLocation")
        if where and (self._wanted.directory is not None or not self._ours):
            self.path = self._folder(where)

    def _folder(self, where: str) -> Path:
        """Make a path of what Java says, which has '?' for characters above U+00FF."""
        path, wanted = Path(where), self._wanted
        if "?" in where and wanted.directory is not None and wanted.name is not None:
            number = _NUMBERED.search(path.name)
            path = Path(wanted.directory, wanted.name + number[0] if number else path.name)
        return path.absolute()

    # ---- events -------------------------------------------------------------------------------------------------

    async def send(self, events: list[dict[str, Any]]) -> None:
        """Send one message of events; those that Java can merge become hardware sequences.

        Raises
        ------
        ServerLostError
            The server is gone.
        JavaException, AcquisitionAborted
            Java has ended the acquisition.
        ClosedError
            The end was said, or the session is closed.
        """
        if self._end_said or self._closing is not None:
            raise ClosedError("no events can be sent after the end of the acquisition")
        frames = write_events(events)
        self._started = True
        await self._push(frames)

    async def send_end(self) -> None:
        """Say that no more events come; once."""
        if not self._end_said and self._events is not None:
            self._end_said = True
            try:
                await self._push(wire.encode(_END))
            except (AcquisitionAborted, JavaException):
                pass  # it has ended already
            finally:
                # Java may give the port's number to something else as soon as it has this.
                self._events.close(linger=self._channels.timeout)

    async def _push(self, frames: list[bytes | memoryview]) -> None:
        events = self._events
        if events is None:
            raise ClosedError("this acquisition takes its events from Micro-Manager itself")
        self._check_lost()
        try:
            await events.send(frames, timeout=None if self._connected else _FIRST_EVENTS)
        except BridgeTimeoutError:
            raise BridgeTimeoutError(
                f"Micro-Manager did not connect to port {self._event_port} for events within {_FIRST_EVENTS:g} s: it looks for it on "
                "its own computer, 127.0.0.1; where a tunnel leads there, it has to bring that port back too"
            ) from None
        except ServerLostError:
            self._check_lost()
            if self._aborting is None:
                await self._say_why()
        else:
            self._connected = True

    async def _say_why(self) -> None:
        """Java has closed its side of the events: because of an error in its engine, of an abort there, or of its death."""
        error = await self.check()
        self._check_lost()
        raise error or AcquisitionAborted("Micro-Manager has ended this acquisition by itself (its viewer may have been closed)")

    async def abort(self) -> None:
        """End it now: Java exposes nothing more, hooks that wait get their answer, and the last two notices will come.

        Images that Java has taken come still; whoever takes them goes on until there are no more.
        """
        aborting = self._abort_begun()
        await self._outlast(aborting)
        aborting.result()

    def _abort_begun(self) -> asyncio.Task[None]:
        """Abort in a task: one that was cancelled half-way would leave Java's engine with an acquisition that never ends."""
        if self._aborting is None:
            self._aborting = self._loop.create_task(self._abort(), name="aiomm: abort an acquisition of Micro-Manager")
        return self._aborting

    async def _abort(self) -> None:
        if self.lost is not None:
            return
        try:
            async with asyncio.timeout(self._channels.timeout):
                if not self._ours:
                    await self._abort_existing()
                elif self._started:  # else the end alone does it, and lets Java's storage end as it should
                    await expose_no_more(self.acquisition)
                    await self._let_hooks_go()
                    await self.acquisition.call("finish")
        except ServerLostError as error:
            self._lose(error)
        except (AiommError, TimeoutError) as error:
            log.warning("Micro-Manager has not taken the abort of an acquisition: %s", str(error) or "it takes too long")
        finally:
            await self._let_hooks_go()
        try:
            await self.send_end()
        except ServerLostError as error:
            self._lose(error)

    async def _abort_existing(self) -> None:
        aborting = self._loop.create_task(self.acquisition.call("abort"), name="aiomm: abort in Java")
        try:
            await asyncio.sleep(0)  # it is sent before the hooks are let go
            await self._let_hooks_go()
            await asyncio.wait([aborting])
        finally:
            aborting.cancel()
            await self._outlast(aborting)

    async def _let_hooks_go(self) -> None:
        if self._ours:
            for gate in self.gates.values():  # first: what it holds is the event before
                await quietly(gate.shut())
        for pipe in self.hooks.values():
            await quietly(pipe.let_go())

    async def check(self) -> JavaException | None:
        """Give the exception that ended it in Java, if one did.

        Raises
        ------
        ServerLostError
            The server is gone.
        """
        try:
            await self.acquisition.call("checkForExceptions")
        except JavaException as error:
            return unwrapped(error)
        except ServerLostError as error:
            self._lose(error)
            raise
        return None

    # ---- a lost server ------------------------------------------------------------------------------------------

    def _check_lost(self) -> None:
        if self.lost is not None:
            raise type(self.lost)(*self.lost.args)

    def _lose_server(self) -> None:
        """Java does not listen for notices any more, though it does so to the end."""
        if self._closing is None and not self.notices.complete:
            self._lose(ServerLostError("Micro-Manager is gone: it has closed the stream of this acquisition's notifications"))

    def _lose(self, error: BridgeError) -> None:
        if self.lost is None:
            self.lost = error
            if not self.gone.done():
                self.gone.set_result(error)
            for pipe in self._pipes():
                pipe.lose(error)
            if self._events is not None:
                self._events.give_up(str(error))

    # ---- ending -------------------------------------------------------------------------------------------------

    async def _handled(self) -> None:
        assert self._handler is not None
        await self._handler.call("notificationHandlingComplete")

    async def close(self) -> None:
        """Close everything, on both sides, from any state, within the control timeout; whoever cancels this, it is done first."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(), name="aiomm: close an acquisition of Micro-Manager")
        await self._outlast(self._closing)
        self._closing.result()

    async def _outlast(self, task: asyncio.Task[Any]) -> None:
        """Wait for a task, then give way to a cancellation."""
        cancelled = await outlast(task)
        if not task.cancelled():
            task.exception()
        if cancelled is not None:
            raise cancelled

    async def _close(self) -> None:
        made = hasattr(self, "acquisition")
        try:
            if made and self.lost is None and not self._bridge.closed:
                async with asyncio.timeout(self._bridge_timeout()):
                    await self._finish()
        except (AiommError, TimeoutError) as error:
            if self.lost is None and not isinstance(error, ServerLostError | ClosedError):
                log.warning("Micro-Manager has not ended an acquisition that was closed: %s", str(error) or "it takes too long")
        finally:
            await self._release()
            if not self.gone.done():
                self.gone.set_result(None)

    async def _finish(self) -> None:
        """Have Java end the acquisition, if it has not."""
        notices = getattr(self, "notices", None)
        if notices is not None and notices.complete:
            await notices.inbox.settled()
            return
        if not self._ours or self._events is not None:
            aborting = self._abort_begun()  # before hooks and images are let go: what waits for them would be exposed
            await asyncio.wait([aborting])
            aborting.result()
        await self._let_hooks_go()
        if self.images is not None:
            await quietly(self.images.let_go())
        if self._ours and self._events is None:
            await force_end(self.acquisition)
        elif not self._ours and not self._started:
            await end_unstarted(self.acquisition)
        if notices is not None:
            notices.inbox.drop()
            await notices.inbox.settled()
        elif self._handler is not None:
            await self._handled()

    def _pipes(self) -> list[HookPipe | ImagePipe]:
        return [*self.hooks.values(), *([] if self.images is None else [self.images])]

    async def _release(self) -> None:
        if self._aborting is not None:
            self._aborting.cancel()
            await self._outlast(self._aborting)
        if self._ahead is not None:
            self._ahead[1].close(linger=self._channels.timeout)
        if self._events is not None:
            self._events.close()
        if hasattr(self, "notices"):
            await self.notices.inbox.aclose()
        for pipe in self._pipes():
            await pipe.aclose()
        if hasattr(self, "_channels"):
            for port in self._listens:
                self._channels.left(port)
        owned, self._owned = self._owned, []
        if self.lost is None:
            if self._generation is not None:  # Java may have closed it; again does no harm
                await quietly(self._generation.call("close"))
            await asyncio.gather(*(quietly(obj.aclose()) for obj in reversed(owned)))


def _port_trouble(error: BridgeError) -> bool:
    return not isinstance(error, JavaException) or "Address already in use" in error.java_message
