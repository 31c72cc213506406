"""A worker process's own bridge to the running Micro-Manager: what its function gets as ``bridge``."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from aiomm.bridge import Bridge
from aiomm.core.blocking import blocking

if TYPE_CHECKING:
    from contextlib import ExitStack


def open_bridge(stack: ExitStack, arguments: dict[str, Any], runner: asyncio.Runner | None) -> Any:
    """Open a bridge, closed with the stack.

    Parameters
    ----------
    stack
        Closes it.
    arguments
        Of `Bridge`.
    runner
        On whose loop a coroutine function runs: it gets the bridge itself. None: a plain function, which gets a blocking view.

    Raises
    ------
    BridgeError
        Nothing answers there.
    """
    bridge = Bridge(**arguments)
    if runner is not None:
        runner.run(bridge.__aenter__())
        stack.callback(lambda: runner.run(bridge.aclose()))
        return bridge
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="aiomm: bridge of a worker process", daemon=True)
    thread.start()

    def end() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    stack.callback(end)
    asyncio.run_coroutine_threadsafe(bridge.__aenter__(), loop).result()
    stack.callback(lambda: asyncio.run_coroutine_threadsafe(bridge.aclose(), loop).result())
    return blocking(bridge)
