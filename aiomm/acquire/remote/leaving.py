"""Have Micro-Manager's engine leave the sequence that it has begun, and be ready for what comes after it.

Java can only be told to end an acquisition. It looks at that flag between two images, and takes no more of a sequence then. So the flag is
raised, its engine's thread is waited for, what it has left over of the sequence is cleared, and the flag is taken back: all of them
private fields, which Java's reflection reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiomm.bridge import bridge_of, private_field

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiomm.bridge import JavaObject

__all__ = ["leave_sequence"]

_ACQUISITION: Final = "org.micromanager.acqj.main.Acquisition"
_ENGINE: Final = "org.micromanager.acqj.internal.Engine"
_FLAG: Final = "abortRequested_"


async def leave_sequence(acquisition: JavaObject, ends: Callable[[], bool]) -> None:
    """Have Java take no more images of what it was sent last.

    The camera is not stopped by this. Meanwhile Java may ask hooks, whoever answers them.

    Parameters
    ----------
    acquisition
        Java's acquisition, whose last events Java has begun.
    ends
        Whether the acquisition is to end meanwhile: then the flag stays.

    Raises
    ------
    BridgeError
        Java is gone, or its engine is not as it was known.
    """
    bridge = bridge_of(acquisition)
    kind = await bridge.get_java_class(_ENGINE, new_socket=True)  # at a port of its own: this waits for Java's thread
    engine = await kind.call("getInstance")
    generator = await (await private_field(kind, "eventGeneratorExecutor_")).call("get", [engine])
    waiting = await (await private_field(kind, "sequencedEvents_")).call("get", [engine])
    runnable = await bridge.get_java_class("java.lang.Runnable")
    handlers = await bridge.get_java_class("java.beans.EventHandler")
    clear = await handlers.call("create", [runnable, waiting, "clear"])
    fresh = await bridge.construct_java_object("java.util.concurrent.CountDownLatch", args=[1])
    field = await private_field(await bridge.get_java_class(_ACQUISITION), _FLAG)
    flag = await field.call("get", [acquisition])
    await flag.call("countDown")
    turn = await generator.call("submit", [clear])
    await turn.call("get")
    if not ends():
        await field.call("set", [acquisition, fresh])
