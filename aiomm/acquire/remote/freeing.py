"""Free Micro-Manager's engine from an acquisition whose program is gone: it would wait for that one's hook for ever.

The engine has one thread, and asks hooks in other processes by sockets without a deadline. Of a process that was killed nobody listens any
more where Java connects to for the answers of its hook: that is looked at from Java itself. Only then its acquisition is told to
end, and its hooks are answered in its place: first with what lets nothing be exposed, then the end.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, Final

from aiomm.acquire.remote.drive import LoopSignal
from aiomm.acquire.remote.ending import expose_no_more, quietly
from aiomm.acquire.remote.events import NO_CAMERA, excuse
from aiomm.acquire.remote.pipes import HookPipe
from aiomm.bridge import private_field, wire
from aiomm.bridge.channels import channels_of
from aiomm.errors import AiommError, BridgeError, JavaException, ServerLostError

if TYPE_CHECKING:
    from aiomm.bridge import Bridge, JavaObject
    from aiomm.bridge.streams import PushSocket

__all__ = ["CannotFreeError", "Freed", "Patience", "free_engine"]

log = logging.getLogger("aiomm")

_ENGINE: Final = "org.micromanager.acqj.internal.Engine"
_THREAD: Final = "Acquisition Engine Thread"
_HOOK: Final = "org.micromanager.remote.RemoteAcqHook"
_TAKES: Final = "acquireImages"
_SOCKET: Final = "org.micromanager.pyjavaz.ZMQSocketWrapper"
_SOURCE: Final = "org.micromanager.remote.RemoteEventSource"
_NOTHING: Final = wire.encode({"camera": NO_CAMERA})
_HOOKS: Final = (
    "getEventGenerationHooks",
    "getBeforeHardwareHooks",
    "getBeforeZDriveHooks",
    "getAfterHardwareHooks",
    "getAfterCameraHooks",
    "getAfterExposureHooks",
)
BEGINS_S: Final = 1.0
"""How long Micro-Manager's engine may take to begin until it is seen whether it waits for somebody who is gone."""
_AGAIN_S: Final = 0.3  # after this long it is looked again whether nobody listens: a socket may just be opened anew
_ENDS_S: Final = 5.0  # that Java may take to end what was freed, once nothing else keeps it


class CannotFreeError(BridgeError):
    """The engine waits for a program that is gone, and cannot be freed from here."""


class Patience:
    """How long Micro-Manager's engine has not begun with what it was told.

    Attributes
    ----------
    over : LoopSignal
        Set when that is too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.over = LoopSignal(loop)

    def begin(self, seconds: float = BEGINS_S) -> None:
        """It was told something."""
        self.end()
        self._timer = self._loop.call_later(seconds, self.over.set)

    def again(self, seconds: float) -> None:
        """Have patience once more, unless it has begun."""
        if self._timer is not None:
            self.begin(seconds)

    def end(self) -> None:
        """It has begun, or will not."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.over.clear()


class Freed:
    """Answers in place of programs that are gone, until `aclose`.

    Attributes
    ----------
    closed : set of str
        Shutters that those had left open under autoshutter.
    """

    def __init__(self) -> None:
        self.closed: set[str] = set()
        self.pipes: list[HookPipe] = []
        self.untold: list[tuple[HookPipe, JavaObject]] = []  # Java tells these nothing more, and does not close them

    async def aclose(self) -> None:
        """Wait until Java has asked the last thing, and close."""
        ends = [asyncio.ensure_future(pipe.inbox.settled()) for pipe in self.pipes]
        try:
            if ends:
                await asyncio.wait(ends, timeout=_ENDS_S)
        finally:
            for end in ends:
                end.cancel()
            for pipe, hook in self.untold:
                await quietly(hook.call("close"))
                await pipe.aclose()
            for pipe in self.pipes:
                await pipe.aclose()


async def free_engine(bridge: Bridge, freed: Freed) -> bool:
    """Look for acquisitions in Java whose program is gone, and have them end; gives whether there were any.

    Parameters
    ----------
    bridge
        To the running Micro-Manager.
    freed
        Answers for them; to be closed when the engine has gone on.

    Raises
    ------
    CannotFreeError
        There is one, and it cannot be ended.
    BridgeError
        Java is gone, or is not as it was known.
    """
    kind = await bridge.get_java_class(_ENGINE)
    engine = await kind.call("getInstance")
    active = await (await private_field(kind, "activeAcquisitions_")).call("get", [engine])
    left: list[tuple[JavaObject, list[JavaObject]]] = []  # an acquisition, and its hooks
    async for acquisition in active:
        hooks = [hook for name in _HOOKS async for hook in await acquisition.call(name)]
        if await _waits_in_vain(bridge, hooks):
            left.append((acquisition, hooks))
    if left:
        await asyncio.sleep(_AGAIN_S)
    ended = 0
    try:
        for acquisition, hooks in left:
            asked = await _waits_in_vain(bridge, hooks)
            if asked and await active.call("contains", [acquisition]):
                exposes = await _exposes(bridge, kind, engine, acquisition)
                ended += await _end(bridge, acquisition, hooks, asked, freed, exposes=exposes)
    except ServerLostError:
        raise
    except AiommError as error:
        held = "Micro-Manager's engine waits for a hook of a program that is gone, and cannot be freed: restart Micro-Manager"
        raise CannotFreeError(f"{held} ({error})") from error
    if ended:
        log.warning(
            "Micro-Manager's engine waited for a hook of a program that is gone: what such programs have left there (%d acquisition%s) was "
            "ended in their place, without another image, and the engine goes on. A shutter that was held open, and autoshutter, are as "
            "they left them",
            ended,
            "s" * (ended > 1),
        )
    return ended > 0


async def _waits_in_vain(bridge: Bridge, hooks: list[JavaObject]) -> list[JavaObject]:
    """Those of the hooks that Java may ask in another process, if none of these has anybody who answers."""
    asked = [hook for hook in hooks if hook.java_class == _HOOK and not await _closed(bridge, hook)]
    return asked if asked and await _nobody_answers(bridge, asked) else []


async def _closed(bridge: Bridge, hook: JavaObject) -> bool:
    """Whether Java has closed a hook at its acquisition's end: its ports may be others' by now."""
    socket = await (await private_field(await bridge.get_java_class(_HOOK), "pullSocket_")).call("get", [hook])
    return bool(await (await private_field(await bridge.get_java_class(_SOCKET), "closed_")).call("get", [socket]))


async def _nobody_answers(bridge: Bridge, hooks: list[JavaObject]) -> bool:
    for hook in hooks:
        if await _listened_at(bridge, await hook.call("getPullPort")):
            return False
    return True


async def _listened_at(bridge: Bridge, port: int) -> bool:
    """Say whether somebody listens on Java's computer at a port to which it connects. To connect there too would disturb who listens."""
    where = await bridge.construct_java_object("java.net.InetSocketAddress", args=["127.0.0.1", port])
    probe = await bridge.construct_java_object("java.net.ServerSocket")
    try:
        await probe.call("bind", [where])
    except JavaException as error:
        if "BindException" not in error.java_class:
            raise
        return True
    finally:
        await probe.call("close")
    return False


async def _exposes(bridge: Bridge, kind: JavaObject, engine: JavaObject, acquisition: JavaObject) -> bool:
    """Whether the engine is in the middle of this acquisition's images. Else a camera that runs, or an open shutter, is somebody else's.

    Its thread is looked at first: it takes images only of what the hardware was prepared for last.
    """
    threads = await bridge.get_java_class("java.lang.Thread")
    async for thread in await (await threads.call("getAllStackTraces")).call("keySet"):
        if await thread.call("getName") == _THREAD:
            frames = await thread.call("getStackTrace")
            if any([await frame.call("getMethodName") == _TAKES and await frame.call("getClassName") == _ENGINE async for frame in frames]):
                break
    else:
        return False
    last = await (await private_field(kind, "lastEvent_")).call("get", [engine])
    return last is not None and bool(await (await last.get_field("acquisition_")).call("equals", [acquisition]))


async def _end(
    bridge: Bridge, acquisition: JavaObject, hooks: list[JavaObject], asked: list[JavaObject], freed: Freed, *, exposes: bool
) -> bool:
    """End it; gives whether it was ended from here: somebody else may do so at the same moment."""
    channels = channels_of(acquisition)
    untold = [hook async for hook in await acquisition.call(_HOOKS[0])]
    reached: list[tuple[HookPipe, PushSocket]] = []
    for hook in asked:
        port = await hook.call("getPullPort")
        try:
            push = await channels.push(port)
        except ServerLostError:
            raise
        except BridgeError:
            if not reached and await _listened_at(bridge, port):
                return False
            push = await channels.push(port)
        try:
            pull = await channels.pull(await hook.call("getPushPort"))
        except BaseException:
            push.close()
            raise
        pipe = HookPipe("freed", pull, push, functools.partial(excuse, exposes=True))
        reached.append((pipe, push))
        if hook in untold:
            freed.untold.append((pipe, hook))
        else:
            freed.pipes.append(pipe)
    for hook in hooks:
        if hook.java_class != _HOOK:
            await quietly(_shut(bridge, hook))
    await expose_no_more(acquisition)
    if exposes:
        await _leave_safe(bridge, freed)
    source = await (await private_field(await bridge.get_java_class(acquisition.java_class), "eventSource_")).call("get", [acquisition])
    threads = await (await private_field(await bridge.get_java_class(_SOURCE), "executor_")).call("get", [source])
    await threads.call("shutdownNow")
    for pipe, push in reached:
        await pipe.let_go()
        await push.send(_NOTHING, timeout=channels.timeout)  # Java may have asked already, whom nobody can say
    await acquisition.call("finish")
    return True


async def _shut(bridge: Bridge, hook: JavaObject) -> None:
    """Let nothing through a `Gate` of which this is a part."""
    proxies = await bridge.get_java_class("java.lang.reflect.Proxy")
    if await proxies.call("isProxyClass", [await hook.call("getClass")]):
        stack = await (await proxies.call("getInvocationHandler", [hook])).call("getTarget")
        nothing = await bridge.construct_java_object("java.util.Stack")
        await nothing.call("setSize", [1])
        await stack.call("addAll", [0, nothing])


async def _leave_safe(bridge: Bridge, freed: Freed) -> None:
    """Stop the camera, and close the shutter that autoshutter has opened for it: nobody does any more."""
    core: Any = await bridge.get_core()
    shutter = await core.get_shutter_device()
    if shutter and await core.get_auto_shutter():
        freed.closed.add(shutter)
    if await core.is_sequence_running():
        await core.stop_sequence_acquisition()
        await core.clear_circular_buffer()
    for label in freed.closed:
        await core.set_shutter_open(label, False)
