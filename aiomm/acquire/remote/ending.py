"""What Java ends only when it is made to, and what it says of why an acquisition has ended."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from aiomm.bridge import bridge_of, private_field
from aiomm.errors import AcquisitionAborted, AiommError, HardwareError, JavaException, StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiomm.bridge import JavaObject

__all__ = [
    "close_unused",
    "end_failed_storage",
    "end_mute",
    "end_unstarted",
    "ended_by_java",
    "expose_no_more",
    "force_end",
    "quietly",
    "start_if_not",
    "unwrapped",
    "writing_failure",
]

_ACQUISITION: Final = "org.micromanager.acqj.main.Acquisition"
_NOTICE: Final = "org.micromanager.acqj.main.AcqNotification"
_STORAGE: Final = "org.micromanager.ndtiffstorage.NDTiffStorage"
_LEVEL: Final = "org.micromanager.ndtiffstorage.ResolutionLevel"
_SOURCE: Final = "org.micromanager.remote.RemoteEventSource"
_WRAPPED: Final = re.compile(
    r"^(?:java\.util\.concurrent\.ExecutionException|java\.lang\.RuntimeException): (?=[\w$]+(?:\.[\w$]+)+(?:: |$))"
)
_CLASS: Final = re.compile(r"^([\w$]+(?:\.[\w$]+)+)(?:: |$)")


async def quietly(work: Awaitable[Any]) -> None:
    """Do what can be done without: it fails where Java is gone or has ended already."""
    with contextlib.suppress(AiommError):
        await work


async def close_unused(obj: JavaObject) -> None:
    """Have Java close the two sockets of a hook or processor that no acquisition has got."""
    for name in ("pushSocket_", "pullSocket_"):
        await quietly(_call_field(obj, obj.java_class, name, "close"))


async def end_mute(handler: JavaObject, other: JavaObject) -> None:
    """End what was to send notices and did not get the port that it has chosen: who has asked for that waits until it has one."""
    field = await private_field(await bridge_of(other).get_java_class(other.java_class), "pushSocket_")
    await field.call("set", [handler, await field.call("get", [other])])
    await _call_field(handler, other.java_class, "executor_", "shutdown")


async def expose_no_more(acquisition: JavaObject) -> None:
    """Have Java expose nothing more from now on; then hooks may be let go, and ``finish`` ends it.

    Java's own ``abort`` does this in a thread, some time after it has answered: what a hook answers meanwhile would still be exposed.

    Its event_generation hooks are taken away first. Java tells them of the end on two threads, and closes their sockets on one of them:
    when an abort comes between two messages of events, the end that is read after it would be told to a closed socket, and the one
    thread that Java has for the events of all acquisitions would wait for ever. Whoever has added such hooks closes them.
    """
    await (await acquisition.call("getEventGenerationHooks")).call("clear")
    await _call_field(acquisition, _ACQUISITION, "abortRequested_", "countDown")
    await acquisition.call("setPaused", [False])


async def force_end(acquisition: JavaObject) -> None:
    """End an acquisition that waits at a port for its events which cannot be reached, and so for their end; one that has ended stays so."""
    await start_if_not(acquisition)
    source = await _read(acquisition, acquisition.java_class, "eventSource_")
    await _call_field(source, _SOURCE, "executor_", "shutdownNow")
    await acquisition.call("abort")


async def start_if_not(acquisition: JavaObject) -> None:
    """Start an acquisition before it ends: else nothing closes its storage, and says that it is closed."""
    if not await acquisition.call("isStarted"):
        await acquisition.call("start")


async def end_unstarted(acquisition: JavaObject) -> None:
    """Close the storage of an acquisition that was never started, and say that it is closed: else nothing does."""
    sink = await acquisition.call("getDataSink")
    if sink is not None:
        await sink.call("finish")
    await _say_data_over(acquisition)


async def writing_failure(acquisition: JavaObject) -> JavaException | None:
    """Give what kept Java's storage from writing an image, if anything did."""
    storage = await _storage(acquisition)
    if storage is not None:
        try:
            await storage.call("checkForWritingException")
        except JavaException as error:
            return unwrapped(error)
    return None


async def end_failed_storage(acquisition: JavaObject) -> bool:
    """See whether Java's storage has failed at its last write, end it then, and say so.

    It waits for the end of its own thread for writing. That ends with the last write, unless this one fails: then it waits for ever,
    and tells nobody. Ended from here, it closes its files and says that all data is saved, as always.
    """
    storage = await _storage(acquisition)
    if storage is None:
        return False
    writing = await _read(storage, _STORAGE, "writingExecutor_")
    if await writing.call("isShutdown"):
        return False
    full = await _read(storage, _STORAGE, "fullResStorage_")
    if await _read(full, _LEVEL, "newDataSet_"):
        return False  # the last write is yet to come
    try:
        nothing = await bridge_of(acquisition).construct_java_object("java.lang.Thread")  # to run it does nothing
        turn = await writing.call("submit", [nothing])
        await turn.call("get")  # after the last write, however long that takes
    except JavaException:
        return False  # it has ended meanwhile
    if await writing.call("isShutdown"):
        return False
    smaller = await _read(storage, _STORAGE, "lowResStorages_")
    for level in (full, *[each async for each in await smaller.call("values")]):
        await quietly(_call_field(level, _LEVEL, "indexWriter_", "finishedWriting"))  # else its file stays open
    await writing.call("shutdown")
    return True


async def _storage(acquisition: JavaObject) -> JavaObject | None:
    sink = await acquisition.call("getDataSink")
    return None if sink is None else await sink.call("getStorage")  # None once it is closed


async def _say_data_over(acquisition: JavaObject) -> None:
    notices = await bridge_of(acquisition).get_java_class(_NOTICE)
    await acquisition.call("postNotification", [await notices.call("createDataSinkFinishedNotification")])


async def _read(obj: JavaObject, java_class: str, name: str) -> Any:
    field = await private_field(await bridge_of(obj).get_java_class(java_class), name)
    return await field.call("get", [obj])


async def _call_field(obj: JavaObject, java_class: str, name: str, method: str) -> None:
    held = await _read(obj, java_class, name)
    if held is not None:
        await held.call(method)


def unwrapped(error: JavaException) -> JavaException:
    """Give the exception inside those that threads of Java's wrap it in."""
    text = str(error)
    while match := _WRAPPED.match(text):
        text = text[match.end() :]
    found = _CLASS.match(text)
    return JavaException(found[1], text[found.end() :], error.java_stack) if found else error


def ended_by_java(error: BaseException | None) -> Exception:
    """Give what to raise when an acquisition has ended in Java although nobody here has asked for it."""
    if error is None:
        return AcquisitionAborted("the acquisition was ended in Micro-Manager (its window was closed?)")
    kind = StorageError if "java.io." in f"{error}\n{getattr(error, 'java_stack', '')}" else HardwareError
    failure = kind(f"Micro-Manager's engine has ended the acquisition: {error}")
    failure.__cause__ = error
    return failure
