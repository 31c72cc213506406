from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aiomm import blocking
from aiomm.errors import ClosedError, CoreError

if TYPE_CHECKING:
    import aiomm


async def test_what_only_this_core_has_blocks_in_a_worker_thread(demo_core: aiomm.LocalCore) -> None:
    view = blocking(demo_core)

    def work() -> None:
        view.set_position(4)
        view.wait_for_system()
        assert view.get_xy_position() == (0.0, 0.0)
        assert view.run(lambda mmc: (mmc.getPosition(), threading.current_thread().name)) == (4.0, "aiomm-hardware")
        with pytest.raises(CoreError, match="out of range"):
            view.set_position(1e9)

    await asyncio.to_thread(work)


async def test_on_the_loop_it_refuses(demo_core: aiomm.LocalCore) -> None:
    view = blocking(demo_core)
    uses: list[Any] = [view.snap, view.wait_for_system, lambda: view.run(lambda mmc: None)]
    for use in uses:
        with pytest.raises(RuntimeError, match=r"would block the event loop.*await core"):
            use()


async def test_on_the_hardware_thread_it_calls_directly(demo_core: aiomm.LocalCore) -> None:
    view = blocking(demo_core)

    def inside(mmc: Any) -> tuple[float, int]:
        view.wait_for_system()
        return view.get_exposure(), view.run(lambda mmc: 7)

    assert await demo_core.run(inside) == (10.0, 7)


async def test_names(demo_core: aiomm.LocalCore) -> None:
    view = blocking(demo_core)
    assert {"snap", "set_exposure", "run"} <= set(dir(view))
    assert "Sets the exposure" in (view.set_exposure.__doc__ or "")
    with pytest.raises(AttributeError, match="it is 'set_exposure'"):
        view.setExposure  # noqa: B018
    assert view.core is demo_core
    with pytest.raises(TypeError, match="takes a LocalCore, a Bridge or an object of a Bridge, not str"):
        blocking("core")


async def test_after_closing(demo_core: aiomm.LocalCore) -> None:
    view = blocking(demo_core)
    await demo_core.aclose()

    def work() -> None:
        with pytest.raises(ClosedError, match="closed"):
            view.snap()

    await asyncio.to_thread(work)
