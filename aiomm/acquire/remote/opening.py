"""Make an acquisition in Java, and connect to it: for its events, its notices, its hooks and its images."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiomm.acquire.remote.ending import close_unused, end_mute, quietly
from aiomm.acquire.remote.events import excuse
from aiomm.acquire.remote.folders import choosing_folder
from aiomm.acquire.remote.gate import Gate
from aiomm.acquire.remote.pipes import HookPipe, ImagePipe, Notices
from aiomm.bridge import wire
from aiomm.bridge.channels import channels_of, channels_on
from aiomm.core.together import ask_all
from aiomm.errors import BridgeError, BridgeTimeoutError, JavaException, ServerLostError, StorageError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.bridge import Bridge, JavaObject
    from aiomm.bridge.channels import Channels
    from aiomm.bridge.places import Place
    from aiomm.bridge.streams import PullSocket, PushSocket

__all__ = ["END", "Ahead", "Made", "Opening", "Wanted", "handled"]

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
_MESSAGES: Final = 16  # that wait on the way to Java
_IMAGES: Final = 8
END: Final = {"events": [{"special": "acquisition-end"}]}
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


@dataclass
class Made:
    """What there is of an acquisition, in Java and here: at first nothing, and after an opening that failed not all.

    Attributes
    ----------
    ours : bool
        It is made here; else Micro-Manager has made it.
    channels : Channels or None
        Of its bridge.
    acquisition, handler : JavaObject or None
        Java's acquisition, and what sends its notices.
    notices, images : Notices, ImagePipe or None
        Streams from Java.
    hooks : dict of HookPipe
        By name.
    gates : dict of Gate
        Of those hooks that Java's engine runs by itself.
    events : PushSocket or None
        To where Java takes events from.
    event_port : int
        Its port.
    ahead : (int, PushSocket) or None
        Where Java will probably look for events.
    viewer : JavaObject or None
        Java's viewer of it.
    generation : JavaObject or None
        The event_generation hook of ours: closed from here where Java was kept from it.
    path : Path or None
        Folder of the dataset.
    summary : dict
        Java's summary metadata.
    owned : list of JavaObject
        To be released when it has ended.
    ports : list of int
        At which Java listens for it, or this side.
    """

    ours: bool
    channels: Channels | None = None
    acquisition: JavaObject | None = None
    handler: JavaObject | None = None
    notices: Notices | None = None
    images: ImagePipe | None = None
    hooks: dict[str, HookPipe] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)
    events: PushSocket | None = None
    event_port: int = -1
    ahead: tuple[int, PushSocket] | None = None
    viewer: JavaObject | None = None
    generation: JavaObject | None = None
    path: Path | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    owned: list[JavaObject] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    @property
    def timeout(self) -> float:
        """Of control messages, in s."""
        return 0.5 if self.channels is None else self.channels.timeout

    def pipes(self) -> list[HookPipe | ImagePipe]:
        """Give the streams of hooks and images."""
        return [*self.hooks.values(), *([] if self.images is None else [self.images])]


class Ahead:
    """Ports for an acquisition and its notices: Java opens them while other things are made.

    Parameters
    ----------
    bridge
        To the running Micro-Manager; open.
    existing
        Micro-Manager has made the acquisition: it needs no port.
    """

    def __init__(self, bridge: Bridge, *, existing: bool = False) -> None:
        channels = channels_on(bridge)
        self.factory: Place | None = None if existing else channels.place(FACTORY)
        self.notices = channels.place(NOTIFICATIONS)

    async def aclose(self) -> None:
        """Give back what was not used. Again and again does no harm."""
        if self.factory is not None:
            await self.factory.aclose()
        await self.notices.aclose()


class Opening:
    """Makes one acquisition.

    Parameters
    ----------
    bridge
        To the running Micro-Manager.
    wanted
        What to make.
    made
        Gets what was made, as it is made.
    ahead
        Ports for it; whoever has opened them closes them.
    lost
        Called when Java's stream of notices ends.
    """

    def __init__(self, bridge: Bridge, wanted: Wanted, made: Made, ahead: Ahead, *, lost: Callable[[], None]) -> None:
        self._bridge = bridge
        self._ahead = ahead
        self._wanted = wanted
        self._made = made
        self._lost = lost
        self._shows = False
        self._processor: tuple[JavaObject, PullSocket, PushSocket] | None = None  # until the acquisition has it
        self._refused: list[JavaObject] = []  # made in vain; closed last, as what is made next would get their ports
        self._channels: Channels
        self._acquisition: JavaObject

    async def run(self, existing: JavaObject | None, core: JavaObject | None = None) -> None:
        """Make it, or attach to one that Micro-Manager has made.

        Raises
        ------
        BridgeError
            Java throws, does not answer, or is gone; or a port cannot be used.
        UnsupportedError
            Java cannot make this.
        """
        made = self._made
        try:
            if existing is None:
                await self._create(core)
                await self._listen_for_events()  # at once: a number that is held in vain is in the way of what Java makes next
            else:
                self._acquisition = made.acquisition = existing
                made.owned.append(existing)
                self._channels = made.channels = channels_of(existing)
                await self._make_images()
            hooks = [self._add_hook(name) for name in HOOKS if name in self._wanted.hooks]
            await ask_all(self._listen(), self._add_images(), *hooks, self._find_storage())
        finally:
            if self._processor is not None:
                processor, *sockets = self._processor
                for socket in sockets:
                    socket.close()
                self._refused.append(processor)
            for unused in self._refused:
                await close_unused(unused)

    async def _create(self, core: JavaObject | None) -> None:
        wanted, bridge, place = self._wanted, self._bridge, self._ahead.factory
        assert place is not None
        if wanted.tiling is not None and (wanted.directory is None or wanted.name is None):
            raise UnsupportedError("Micro-Manager's engine saves tiles to disk only: give directory and name")
        if unknown := wanted.hooks.difference(HOOKS):
            raise ValueError(f"hooks: there is no {', '.join(sorted(unknown))}; Java's are {', '.join(HOOKS)}")
        viewer = self._shows = wanted.show_viewer and await self._has_screen()
        if core is None:
            core = await bridge.get_core()
        self._channels = self._made.channels = channels_of(core)
        # Whatever gets a port is made before it is foreseen which one Java listens at for events.
        factory, *_ = await ask_all(self._make_factory(place, core), self._make_images(), self._have_folder(), self._ahead.notices.learn())
        await self._channels.free()
        self._made.ahead = self._channels.push_ahead(factory, queue=_MESSAGES)
        arguments: list[Any]
        method, arguments = "createAcquisition", [wanted.directory, wanted.name, viewer]
        if wanted.tiling is not None:
            x, y, level = wanted.tiling
            method, arguments = "createTiledAcquisition", [*arguments, True, x, y, -1 if level is None else level]
        alone = contextlib.nullcontext() if wanted.directory is None else choosing_folder(bridge)
        try:
            async with alone:
                self._acquisition = self._made.acquisition = await factory.call(method, [*arguments, wanted.queue_size, wanted.debug])
        except JavaException:
            await self._end_half()
            raise
        self._made.owned.append(self._acquisition)
        self._made.owned.remove(factory)  # it is done with: Java forgets it meanwhile

    async def _make_factory(self, place: Place, core: JavaObject) -> JavaObject:
        factory = await place.construct([core])
        self._made.owned.append(factory)
        return factory

    async def _have_folder(self) -> None:
        """Have Java make the folder that its dataset is to be made in: where it cannot, it would keep threads of the half for ever."""
        directory, name = self._wanted.directory, self._wanted.name
        if directory is None:
            return
        folder = await self._bridge.construct_java_object("java.io.File", args=[directory])
        try:
            if not (await folder.call("mkdirs") or await folder.call("isDirectory")):
                raise StorageError(
                    f"Micro-Manager cannot make a dataset {name!r} in {directory}: it must be a folder on Micro-Manager's computer to "
                    "which it may write"
                )
        finally:
            await folder.aclose()

    async def _end_half(self) -> None:
        """Java could not make the acquisition, but waits for its events already, and would for ever."""
        if self._made.ahead is not None:
            with contextlib.suppress(BridgeError):
                await self._made.ahead[1].send(wire.encode(END), timeout=self._channels.timeout)

    async def _listen_for_events(self) -> None:
        """Be where Java looks for its events; if it is not where it was thought to look, it takes up to 0.2 s to find us."""
        port = self._made.event_port = await self._asked(self._acquisition, "getEventPort")
        self._made.ports.append(port)
        ahead, self._made.ahead = self._made.ahead, None
        if ahead is not None and ahead[0] == port:
            self._channels.keep(port)
            self._made.events = ahead[1]
            return
        if ahead is not None:
            ahead[1].close()
        self._made.events = await self._channels.push(port, queue=_MESSAGES)

    async def _has_screen(self) -> bool:
        # Asked first: Java refuses the viewer when the acquisition is half made, and never lets go of that half.
        screen = await self._bridge.get_java_class("java.awt.GraphicsEnvironment")
        try:
            if not await screen.call("isHeadless"):
                await screen.call("getLocalGraphicsEnvironment")
                return True
        except JavaException as error:  # the screen that it was started for is not there
            log.debug("show_display: %s", error)
        finally:
            await screen.aclose()
        log.info("show_display: this Micro-Manager runs without a screen, so its viewer is not opened")
        return False

    async def _listen(self) -> None:
        mute: list[JavaObject] = []
        while True:
            await self._channels.free()
            # At a port of its own: when Java fails to listen for it, asking where it listens never ends.
            place = self._channels.place(NOTIFICATIONS) if mute else self._ahead.notices
            try:
                handler = await place.construct([self._acquisition])
            finally:
                await place.aclose()
            self._made.owned.append(handler)
            try:
                port = await self._asked(handler, "getPort")
                break
            except BridgeTimeoutError:  # another client's object has not left it yet
                mute.append(handler)
                if len(mute) == _ATTEMPTS:
                    raise
        self._made.handler = handler
        for each in mute:
            await end_mute(each, handler)
        pull = await self._channels.pull(port, lost=self._lost)
        on_disk = self._wanted.directory is not None if self._made.ours else True
        self._made.notices = Notices(pull, on_disk=on_disk, handled=functools.partial(self._handled, handler, port))
        await handler.call("start")

    async def _handled(self, handler: JavaObject, port: int) -> None:
        self._channels.left(port)  # before Java knows: its number may be another's right after
        await handled(handler)

    async def _make_images(self) -> None:
        if self._wanted.images:
            self._processor = await self._reached(PROCESSOR, [], _IMAGES)

    async def _add_images(self) -> None:
        if self._processor is None:
            return
        processor, pull, push = self._processor
        await self._acquisition.call("addImageProcessor", [processor])
        self._made.images, self._processor = ImagePipe(pull, push), None
        await ask_all(processor.call("startPull"), processor.call("startPush"))

    async def _add_hook(self, name: str) -> None:
        hook, pull, push = await self._reached(HOOK, [self._acquisition], _MESSAGES)
        pipe = HookPipe(name, pull, push, functools.partial(excuse, exposes=name in _EXPOSES))
        try:
            for each in await self._gated(name, hook):
                await self._acquisition.call("addHook", [each, HOOKS[name]])
        except BaseException:
            await pipe.aclose()
            await quietly(hook.call("close"))
            raise
        self._made.hooks[name] = pipe
        if self._made.ours and name == "event_generation":
            self._made.generation = hook

    async def _gated(self, name: str, hook: JavaObject) -> list[JavaObject]:
        """Put a gate around a hook whose answer is not all that is to be said."""
        if name not in (_GATED if not self._made.ours else _GATED_OURS if self._wanted.gated else ()):
            return [hook]
        gate = self._made.gates[name] = await Gate.open(self._bridge, lets_through=name in _EXPOSES)
        self._made.owned += gate.objects
        return gate.around(hook)

    async def _reached(self, classpath: str, args: list[Any], queue: int) -> tuple[JavaObject, PullSocket, PushSocket]:
        """Make an object that listens at one port and connects to another, and the sockets for both."""
        attempts = 0
        while True:
            attempts += 1
            made = None
            try:
                await self._channels.free()
                made = await self._bridge.construct_java_object(classpath, args=args)
                self._made.owned.append(made)
                there, here = await ask_all(self._asked(made, "getPushPort"), self._asked(made, "getPullPort"))
                self._made.ports += [there, here]
                push = await self._channels.push(here, queue=queue)
                try:
                    return made, await self._channels.pull(there, queue=queue), push
                except BaseException:
                    push.close()
                    raise
            except BaseException as error:
                if made is not None:
                    self._refused.append(made)
                if not isinstance(error, BridgeError) or attempts == _ATTEMPTS or not _port_trouble(error):
                    raise

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
        if not self._made.ours or self._wanted.directory is None:
            self._made.summary = await self._acquisition.call("getSummaryMetadata")
            if self._made.ours:  # nothing is saved there
                return
        sink = await self._acquisition.call("getDataSink")
        if sink is None:
            return
        if self._shows or not self._made.ours:
            self._made.viewer = await sink.call("getViewer")  # stays when the acquisition has ended
        storage = await sink.call("getStorage")
        self._made.summary, where = await ask_all(storage.call("getSummaryMetadata"), storage.call("getDiskLocation"))
        if where:
            self._made.path = self._folder(where)

    def _folder(self, where: str) -> Path:
        """Make a path of what Java says, which has '?' for characters above U+00FF."""
        path, wanted = Path(where), self._wanted
        if "?" in where and wanted.directory is not None and wanted.name is not None:
            number = _NUMBERED.search(path.name)
            path = Path(wanted.directory, wanted.name + number[0] if number else path.name)
        return path.absolute()


async def handled(handler: JavaObject) -> None:
    """Say that all notices have come: Java closes their stream."""
    await handler.call("notificationHandlingComplete")


def _port_trouble(error: BridgeError) -> bool:
    if isinstance(error, ServerLostError):
        return False
    return not isinstance(error, JavaException) or "Address already in use" in error.java_message
