"""One acquisition of Java's engine over its sockets, against the real engine: made, spoken with, ended, and nothing left."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import aiomm
from aiomm import errors
from aiomm.acquire.remote.session import JavaSession
from aiomm.bridge.channels import Channels
from aiomm.bridge.line import Line
from tests.acquire.remote.conftest import threads
from tests.acquire.remote.sessions import WAIT, playing, saved, times, wanted
from tests.support.bridging import right_answers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.jvm.host import JavaHost
    from tests.support.bridging import Eye

campaign = pytest.mark.campaign  # every session here is ended in Java in a way of its own: a minute and more, a few of them always
LAST = {"acq_events_finished", "data_sink_finished"}


def cases(always: list[Any], *others: Any) -> list[Any]:
    """Cases that run always, and those of the campaign."""
    return [*always, *(pytest.param(case, marks=campaign) for case in others)]


# ---- a whole one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_disk", cases([True], False), ids=["disk", "memory"])
async def test_single_images(bridge: aiomm.Bridge, tmp_path: Path, on_disk: bool) -> None:
    async with playing(bridge, wanted(tmp_path if on_disk else None)) as played:
        for event in times(2):
            await played.session.send([event])
        await played.session.send_end()
    assert played.milestones[:6] == ["acq_started", "pre_hardware", "pre_z_drive", "post_hardware", "pre_snap", "post_snap"]
    assert set(played.milestones[-3:]) >= LAST - {"acq_events_finished"}
    assert set(played.milestones) >= LAST
    payloads = [notice.payload for notice in played.notices if notice.milestone == "post_snap"]
    assert payloads == [{"time": 0}, {"time": 1}]
    records = [notice.payload for notice in played.notices if notice.milestone == "image_saved"]
    if not on_disk:
        assert records == ['{"time":0}', '{"time":1}']
        assert played.session.path is None
        return
    path = played.session.path
    assert path == tmp_path / "set_1"
    index = await asyncio.to_thread((path / "NDTiff.index").read_bytes)
    assert b"".join(records) == index[: sum(map(len, records))]
    found = await saved(path)
    assert found.axes == [{"time": 0}, {"time": 1}]
    assert found.finished
    assert found.summary == played.session.summary


@campaign
async def test_a_sequence_is_told_as_one(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    async with playing(bridge, wanted(tmp_path)) as played:
        await played.session.send(times(3))
        await played.session.send_end()
    sequences = [notice for notice in played.notices if notice.milestone == "post_sequence_stopped"]
    assert [notice.payload for notice in sequences] == [[{"time": 0}, {"time": 1}, {"time": 2}]]


@campaign
async def test_axes_of_any_characters(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    axes = {"time": -3, "pos µ": "Ä@\n", "中": "面"}
    async with playing(bridge, wanted(tmp_path, name="größe")) as played:
        await played.session.send([{"axes": axes}])
        await played.session.send_end()
    assert played.session.path == tmp_path / "größe_1"
    assert (await saved(played.session.path)).axes == [axes]


@campaign
async def test_a_folder_whose_name_java_cannot_say(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    directory = tmp_path / "面"
    async with playing(bridge, wanted(directory, name="細胞")) as played:
        await played.session.send_end()
    assert played.session.path == directory / "細胞_1"
    assert played.session.path.is_dir()


@campaign
async def test_a_headless_java_is_not_asked_for_its_viewer(bridge: aiomm.Bridge, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "aiomm"):
        async with playing(bridge, wanted(tmp_path, show_viewer=True)) as played:
            await played.session.send_end()
    assert [record.message for record in caplog.records] == [
        "show_display: this Micro-Manager runs without a screen, so its viewer is not opened"
    ]


@campaign
async def test_tiles(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    async with playing(bridge, wanted(tmp_path, tiling=(10, 20, None))) as played:
        await played.session.send([{"axes": {"row": row, "column": 0}} for row in range(2)])
        await played.session.send_end()
    assert played.session.summary["GridPixelOverlapX"] == 10
    assert (await saved(played.session.path)).axes == [{"row": 0, "column": 0}, {"row": 1, "column": 0}]


@campaign
async def test_tiles_in_memory_are_refused_before_java_half_makes_them(bridge: aiomm.Bridge) -> None:
    with pytest.raises(errors.UnsupportedError, match="saves tiles to disk only"):
        await JavaSession.open(bridge, wanted(tiling=(10, 10, None)))


# ---- images ---------------------------------------------------------------------------------------------------------

TYPES = {"8bit": (np.uint8, 2), "16bit": (np.uint16, 2), "32bitRGB": (np.uint8, 3)}


@pytest.mark.parametrize("pixel_type", cases(["16bit"], "8bit", "32bitRGB"))
async def test_images_come_here_and_go_back(bridge: aiomm.Bridge, control: Any, tmp_path: Path, pixel_type: str) -> None:
    core = await bridge.get_core()
    await core.set_property("Camera", "PixelType", pixel_type)
    dtype, ndim = TYPES[pixel_type]

    async def turned(pixels: np.ndarray, metadata: dict[str, Any]) -> list[Any]:
        metadata["Asked"] = {"by": "me@lab.org", "µ": "面", "list": ["a@b", 1.5, None], "number": np.float32(0.5)}
        return [(pixels[::-1], metadata)]

    async with playing(bridge, wanted(tmp_path, images=True), process=turned) as played:
        await played.session.send(times(2))
        await played.session.send_end()
    assert [metadata["Axes"] for _, metadata in played.images] == [{"time": 0}, {"time": 1}]
    for pixels, _ in played.images:
        assert (pixels.dtype, pixels.ndim, pixels.shape[:2]) == (dtype, ndim, (512, 512))
    first = played.images[0][0]
    if ndim == 3:
        assert first[100, 7].tolist() == [100, 100, 7]  # red, green: the row, blue: the column
    else:
        assert first[100, 7] == 7
    found = await saved(played.session.path)
    for time, (pixels, _) in enumerate(played.images):
        np.testing.assert_array_equal(found.images[time], pixels[::-1])
        assert found.metadata[time]["Asked"] == {"by": "me@lab.org", "µ": "面", "list": ["a@b", 1.5, None], "number": 0.5}


async def test_one_image_becomes_two_or_none(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    async def split(pixels: np.ndarray, metadata: dict[str, Any]) -> list[Any]:
        time = metadata["Axes"]["time"]
        if time == 1:
            return []
        halved = (pixels[:10, :20] // 2).astype(np.uint8)
        return [(pixels, metadata), (halved, {**metadata, "Axes": {"time": time, "kind": "half"}})]

    async with playing(bridge, wanted(tmp_path, images=True), process=split) as played:
        await played.session.send(times(3))
        await played.session.send_end()
    found = await saved(played.session.path)
    assert found.axes == [{"time": 0}, {"time": 0, "kind": "half"}, {"time": 2}, {"time": 2, "kind": "half"}]
    half = found.images[3]
    assert (half.shape, half.dtype) == ((10, 20), np.uint8)
    np.testing.assert_array_equal(half, (played.images[2][0][:10, :20] // 2).astype(np.uint8))
    assert found.metadata[3]["PixelType"] == "GRAY8"


@campaign
async def test_pixels_that_aiomm_has_no_type_for(bridge: aiomm.Bridge, control: Any) -> None:
    await (await bridge.get_core()).set_property("Camera", "PixelType", "32bit")
    session = await JavaSession.open(bridge, wanted(images=True))
    try:
        await session.send(times(1))
        assert session.images is not None
        with pytest.raises(errors.UnsupportedError, match="float32"):
            await session.images.recv()
    finally:
        await session.close()


@campaign
async def test_images_that_java_cannot_save_are_refused_here(bridge: aiomm.Bridge) -> None:
    async def process(pixels: np.ndarray, metadata: dict[str, Any]) -> list[Any]:
        assert played.session.images is not None
        with pytest.raises(TypeError, match="pixels are float64"):
            await played.session.images.send(pixels.astype(float), metadata)
        with pytest.raises(TypeError, match="'Thing'"):
            await played.session.images.send(pixels, {**metadata, "Thing": object()})
        return [(pixels, metadata)]

    async with playing(bridge, wanted(images=True), process=process) as played:
        await played.session.send(times(1))
        await played.session.send_end()
    assert played.milestones.count("image_saved") == 1


# ---- hooks ----------------------------------------------------------------------------------------------------------


async def test_hooks_are_asked_and_answered(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    async def marked(events: Any) -> Any:
        for event in events if isinstance(events, list) else [events]:
            event.setdefault("tags", {})["seen"] = event.get("tags", {}).get("seen", "") + "x"
        return events

    names = ("event_generation", "pre_hardware", "post_hardware", "post_camera")
    async with playing(bridge, wanted(tmp_path, *names), hook=marked) as played:
        await played.session.send([{"axes": {"time": 0}, "z": 2.5, "tags": {"who": "µ"}}])
        await played.session.send(times(3)[1:])
        await played.session.send_end()
    assert [len(played.asked[name]) for name in names] == [3, 2, 2, 2]
    assert played.asked["event_generation"][0]["z"] == 2.5
    assert isinstance(played.asked["post_camera"][1], list)
    found = await saved(played.session.path)
    assert found.metadata[0]["tags"] == {"who": "µ", "seen": "xxx"}  # what the last one adds is too late
    assert found.metadata[2]["tags"] == {"seen": "xxx"}


async def test_the_end_is_answered_both_times(bridge: aiomm.Bridge) -> None:
    """The engine tells its event_generation hook of the end twice, and would wait for ever; and so would the next acquisition."""
    for _ in range(3):
        async with playing(bridge, wanted(None, "event_generation")) as played:
            await played.session.send(times(1))
            await played.session.send_end()
        assert set(played.milestones) >= LAST


# ---- errors and aborts ----------------------------------------------------------------------------------------------


async def test_an_exception_of_the_engine(bridge: aiomm.Bridge, control: Any) -> None:
    await control.fail("snapImage", "no light", 1)
    async with playing(bridge, wanted()) as played:
        await played.session.send(times(1))
        await played.until("acq_events_finished")
        error = await played.session.check()
        assert error is not None
        assert error.java_class == "org.micromanager.acqj.internal.HardwareControlException"
        assert "no light" in error.java_message
        with pytest.raises(errors.JavaException, match="no light"):
            for _ in range(100):
                await played.session.send(times(1))
                await asyncio.sleep(0.01)
        await played.session.send_end()
    assert set(played.milestones) >= LAST


@campaign
async def test_nothing_is_sent_after_the_end(bridge: aiomm.Bridge) -> None:
    async with playing(bridge, wanted()) as played:
        await played.session.send_end()
        await played.session.send_end()
        with pytest.raises(errors.ClosedError, match="after the end"):
            await played.session.send(times(1))


@pytest.mark.parametrize("aborted", [False, True])
async def test_java_hears_nothing_of_events_any_more(bridge: aiomm.Bridge, tmp_path: Path, aborted: bool) -> None:
    """Their stream is broken, and Java waits at it for ever for the end; nothing that was sent has come there."""
    async with playing(bridge, wanted(tmp_path, "post_hardware", images=True)) as played:
        events = played.session._made.events
        assert events is not None
        events.give_up("another has its port")
        with pytest.raises(errors.AcquisitionAborted):
            await played.session.send(times(1))
        await (played.session.abort() if aborted else played.session.send_end())
    assert set(played.milestones) >= LAST


@campaign
async def test_abort_before_anything(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    async with playing(bridge, wanted(tmp_path, "post_hardware", images=True)) as played:
        await played.session.abort()
        await played.session.abort()
    assert set(played.milestones) == {"acq_started", *LAST}


@campaign
async def test_abort_while_it_exposes(bridge: aiomm.Bridge, control: Any, tmp_path: Path) -> None:
    await control.hold("snapImage")
    async with playing(bridge, wanted(tmp_path, "post_hardware", "event_generation", images=True)) as played:
        await played.session.send(times(1))
        await played.until("pre_snap")
        await played.session.abort()
        await control.release("snapImage")
    assert set(played.milestones) >= LAST


@campaign
async def test_abort_while_a_sequence_runs(bridge: aiomm.Bridge, control: Any, tmp_path: Path) -> None:
    await control.fast(False)
    await (await bridge.get_core()).set_exposure(20)
    async with playing(bridge, wanted(tmp_path, "event_generation")) as played:
        await played.session.send(times(1000))
        await played.until("image_saved")
        await played.session.abort()
    assert set(played.milestones) >= LAST
    assert played.milestones.count("image_saved") < 500


@pytest.mark.parametrize("name", cases(["pre_hardware"], "event_generation", "post_hardware", "post_camera"))
async def test_abort_while_a_hook_is_asked(bridge: aiomm.Bridge, control: Any, name: str) -> None:
    """Java gets its answer, though the hook has none; and where it has not exposed yet, it does not."""
    before = await control.images_taken()
    session = await JavaSession.open(bridge, wanted(None, name))
    try:
        await session.send(times(1))
        assert await session.hooks[name].recv() is not None
        await session.abort()
        async with asyncio.timeout(WAIT):
            milestones = [notice.milestone async for notice in session.notices]
        assert set(milestones) >= LAST
        assert await session.hooks[name].recv() is None
        await session.hooks[name].answer({})  # too late: nothing happens
        assert await control.images_taken() - before == (name == "post_camera")
    finally:
        await session.close()


@campaign
async def test_abort_of_tiles(bridge: aiomm.Bridge, control: Any, tmp_path: Path) -> None:
    await control.hold("snapImage")
    async with playing(bridge, wanted(tmp_path, tiling=(10, 10, None))) as played:
        await played.session.send([{"axes": {"row": 0, "column": 0}}])
        await played.until("pre_snap")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(played.session.abort())
            await asyncio.sleep(0.05)
            await control.release("snapImage")
    assert set(played.milestones) >= LAST


@pytest.mark.parametrize("phase", cases(["hook", "image"], "new", "events", "end said", "told all"))
async def test_close_in_each_phase(bridge: aiomm.Bridge, tmp_path: Path, phase: str) -> None:
    """It ends in Java too, whatever was left half done."""
    session = await JavaSession.open(bridge, wanted(tmp_path, "post_hardware", "event_generation", images=True))
    assert session.images is not None
    if phase != "new":
        await session.send(times(40))
    if phase in ("hook", "image", "end said", "told all"):
        events = await session.hooks["event_generation"].recv()
    if phase in ("image", "end said", "told all"):
        for _ in range(40):
            assert events is not None
            await session.hooks["event_generation"].answer(events)
            if _ < 39:
                events = await session.hooks["event_generation"].recv()
        events = await session.hooks["post_hardware"].recv()
        assert isinstance(events, list)
        await session.hooks["post_hardware"].answer(events)
        assert await session.images.recv() is not None
    if phase in ("end said", "told all"):
        await session.send_end()
    if phase == "told all":
        while await session.images.recv() is not None:
            pass
        await session.images.finish()
        assert len([notice async for notice in session.notices]) > 5
    await session.close()
    await session.close()
    assert session.gone.result() is None
    with pytest.raises(errors.ClosedError):
        await session.send(times(1))
    if phase == "told all":  # of what has no image, or was dropped here, Java makes no file
        assert session.notices.complete


@campaign
async def test_a_cancelled_close_closes_first(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    session = await JavaSession.open(bridge, wanted(tmp_path, images=True))
    closing = asyncio.create_task(session.close())
    for _ in range(3):
        await asyncio.sleep(0)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert session.gone.done()


# ---- opening that fails ---------------------------------------------------------------------------------------------

ALL = ("event_generation", "pre_hardware", "post_hardware", "post_camera")


@campaign
async def test_open_cancelled_at_each_call(bridge: aiomm.Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Java was making just then is ended and released."""
    original = Line.exchange
    opening: asyncio.Task[JavaSession] | None = None
    left = 0

    async def exchange(self: Line, *args: Any, **more: Any) -> Any:
        nonlocal left
        if opening is not None and self.session.bridge is bridge:
            left -= 1
            if left == 0:
                asyncio.get_running_loop().call_soon(opening.cancel)
        return await original(self, *args, **more)

    monkeypatch.setattr(Line, "exchange", exchange)
    for call in range(1, 100):
        left = call
        opening = asyncio.create_task(JavaSession.open(bridge, wanted(tmp_path, "post_hardware", images=True)))
        try:
            session = await opening
        except asyncio.CancelledError:
            continue
        finally:
            opening = None
        await session.close()
        break
    assert call > 20
    await right_answers(bridge)


@campaign
async def test_open_cancelled_within_a_time(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    for ms in range(0, 100, 13):
        try:
            async with asyncio.timeout(ms / 1000):
                session = await JavaSession.open(bridge, wanted(tmp_path, *ALL, images=True))
        except TimeoutError:
            continue
        await session.close()
    await right_answers(bridge)


@campaign
async def test_a_folder_that_java_cannot_make(java_host: JavaHost, eye: Eye, tmp_path: Path) -> None:
    """Java's half of an acquisition would wait for its events for ever, and keep its port. (Threads of it stay, unless it is not begun.)"""
    await asyncio.to_thread((tmp_path / "file").write_text, "")
    ports, before = await eye.probe.open_ports(), await threads(eye)
    async with aiomm.Bridge(java_host.port, timeout=5000) as bridge:
        for _ in range(2):
            with pytest.raises(errors.StorageError, match=r"'set' in .*file: it must be a folder"):
                await JavaSession.open(bridge, wanted(tmp_path / "file"))
        assert not await threads(eye) - before
        for _ in range(2):
            with pytest.raises(errors.JavaException):
                await JavaSession.open(bridge, wanted(tmp_path, name="n" * 300))
    await eye.back()
    async with asyncio.timeout(WAIT):
        while await eye.probe.open_ports() != ports:
            await asyncio.sleep(0.02)


def fail_once(monkeypatch: pytest.MonkeyPatch, direction: str, what: str, error: Exception) -> None:
    """Have one stream in this direction fail: of the notices, the images, the events, or the first or second hook."""
    names = iter(["events", "hook", "second hook"] if direction == "push" else ["hook", "second hook"])
    original = getattr(Channels, direction)

    async def connect(self: Channels, port: int, **options: Any) -> Any:
        stream = "notices" if "lost" in options else "images" if options["queue"] == 8 else next(names, "")
        nonlocal what
        if stream == what:
            what = "nothing more"
            raise error
        return await original(self, port, **options)

    monkeypatch.setattr(Channels, direction, connect)


@pytest.mark.parametrize("stream", cases(["hook"], "events", "images", "second hook"))
async def test_a_port_for_java_is_refused(bridge: aiomm.Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    """Another program has the port that Java has chosen: events cannot be sent; for hooks and images, Java takes others."""
    fail_once(monkeypatch, "push", stream, errors.BridgeError("the port is taken"))
    monkeypatch.setattr(Channels, "push_ahead", lambda self, *args, **more: None)
    what = wanted(tmp_path, "pre_hardware", "post_hardware", images=True)
    if stream == "events":
        with pytest.raises(errors.BridgeError, match="is taken"):
            await JavaSession.open(bridge, what)
    else:
        async with playing(bridge, what) as played:
            await played.session.send(times(1))
            await played.session.send_end()
        assert set(played.milestones) >= LAST
    async with playing(bridge, what) as played:
        await played.session.send(times(1))
        await played.session.send_end()
    assert played.milestones.count("image_saved") == 1


@pytest.mark.parametrize("stream", cases(["notices"], "images", "hook"))
async def test_java_cannot_be_reached(bridge: aiomm.Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    fail_once(monkeypatch, "pull", stream, errors.ServerNotFoundError("no stream from there"))
    what = wanted(tmp_path, "pre_hardware", images=True)
    if stream == "notices":
        with pytest.raises(errors.ServerNotFoundError):
            await JavaSession.open(bridge, what)
    async with playing(bridge, what) as played:
        await played.session.send_end()
    assert set(played.milestones) >= LAST


@campaign
async def test_thirty_one_after_the_other(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    for count in range(30):
        async with playing(bridge, wanted(tmp_path, "post_hardware", images=bool(count % 2))) as played:
            await played.session.send(times(2))
            await played.session.send_end()
        assert played.milestones.count("image_saved") == 2
        assert played.session.path == tmp_path / f"set_{count + 1}"


@campaign
async def test_two_at_the_same_time(bridge: aiomm.Bridge, tmp_path: Path) -> None:
    async with playing(bridge, wanted(tmp_path, images=True)) as one, playing(bridge, wanted(None, "pre_hardware")) as other:
        for played in (one, other):
            await played.session.send(times(3))
            await played.session.send_end()
    assert one.milestones.count("image_saved") == other.milestones.count("image_saved") == 3


# ---- an acquisition that Micro-Manager has made ---------------------------------------------------------------------


@campaign
async def test_one_that_micro_manager_has_made(bridge: aiomm.Bridge) -> None:
    async with playing(bridge, wanted()) as first:
        second = await JavaSession.open(bridge, wanted(None, "event_generation"), existing=first.session.acquisition)
        try:
            with pytest.raises(errors.ClosedError, match="from Micro-Manager itself"):
                await second.send(times(1))
            await first.session.send(times(1))
            await first.session.send_end()
            asked = []
            while (events := await second.hooks["event_generation"].recv()) is not None:
                asked.append(events)
                await second.hooks["event_generation"].answer(events)
            milestones = [notice.milestone async for notice in second.notices]
        finally:
            await second.close()
    assert asked == [{"axes": {"time": 0}}]
    assert sorted(milestones) == sorted(first.milestones)
