"""Every saved image proves what was in force: the SequenceTester's pixels are compared with the event of their axes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import aiomm
from tests.support import sequence_tester as st
from tests.support.homes import only_local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from tests.support.homes import Home
    from tests.support.rigs import Event, Rig


@pytest.fixture
async def rig(request: pytest.FixtureRequest, home: Home, tmp_path: Path) -> AsyncIterator[Rig]:
    """Options of load_sequence_tester come as an indirect parameter."""
    async with home.tester(tmp_path, **getattr(request, "param", {})) as rig:
        yield rig


def options(**kwargs: Any) -> Any:
    """Build the rig otherwise."""
    return pytest.mark.parametrize("rig", [kwargs], indirect=True, ids=[""])


# ---- what each image must show --------------------------------------------------------------------------------------


@dataclass
class Model:
    """What is in force after each event, if each key has its effect and what is not named stays."""

    z: float = 0.0
    z_2: float = 0.0
    x: float = 0.0
    y: float = 0.0
    switcher: int = 0
    switcher_2: int = 0
    exposure: float = 1.0

    def apply(self, event: Event) -> None:
        """Step over one event."""
        for key in ("z", "x", "y", "exposure"):
            if key in event:
                setattr(self, key, float(event[key]))
        for label, um in event.get("stage_positions", ()):
            setattr(self, {st.Z: "z", st.Z_2: "z_2"}[label], float(um))
        channel = event.get("channel")
        group, preset = (channel["group"], channel["config"]) if channel else event.get("config_group", (None, None))
        if group == st.GROUP:
            self.switcher = int(st.CHANNELS[preset])
        elif group == st.OTHER_GROUP:
            self.switcher_2 = int(st.CHANNELS[preset]) + 1
        elif group == st.PAIR_GROUP:
            self.switcher, self.switcher_2 = (int(value) for value in st.PAIRS[preset])
        for label, _, value in event.get("properties", ()):
            setattr(self, {st.SWITCHER: "switcher", st.SWITCHER_2: "switcher_2"}[label], int(value))

    def wants(self) -> dict[str, Any]:
        """What the next image must show."""
        return dict(vars(self))


def shown(image: st.Settings) -> dict[str, Any]:
    """What an image shows, as the model says it."""
    assert image.xy is not None
    return {
        "z": image.z,
        "z_2": image.state[st.Z_2, "ZPositionUm"],
        "x": image.xy[0],
        "y": image.xy[1],
        "switcher": image.switcher,
        "switcher_2": image.switcher_2,
        "exposure": image.exposure,
    }


def axes_of(event: Event) -> dict[str, Any]:
    """The stored axes: a preset is the axis ``channel``, in either dialect."""
    channel = event.get("channel")
    name = channel["config"] if channel else event.get("config_group", (None, None))[1]
    return {**event["axes"], **({"channel": name} if name else {})}


def compare(dataset: Any, events: Iterable[Event], model: Model | None = None) -> list[st.Settings]:
    """Compare the saved image of each event with the model; the decoded images, in the order of the events."""
    model = model or Model()
    images = []
    for event in events:
        model.apply(event)
        axes = axes_of(event)
        image = st.decode(dataset.read_image(**axes))
        assert shown(image) == model.wants(), event
        assert image.shutter_open, event
        metadata = dataset.read_metadata(**axes)
        assert metadata["Axes"] == axes
        assert float(metadata["Exposure"]) == model.exposure
        if "z" in event:
            assert metadata["ZPosition_um_Intended"] == model.z
        images.append(image)
    return images


def groups(images: Iterable[st.Settings]) -> list[int]:
    """How the images were taken: lengths of camera sequences, and 1 for each snap."""
    sizes: list[int] = []
    for image in images:
        if image.in_sequence and image.frame > 0:
            assert image.frame == sizes[-1]
            sizes[-1] += 1
        else:
            sizes.append(1)
    return sizes


async def prove(rig: Rig, events: list[Event], **kwargs: Any) -> list[int]:
    """Acquire, open what was saved, compare each image; the group sizes, which the plan must have foretold."""
    async with rig.acquisition(**kwargs) as acq:
        plan = await acq.plan(events)
        saved = await acq.acquire(events)
    assert {frozenset(axes.items()) for axes in saved} == {frozenset(axes_of(event).items()) for event in events}
    dataset = await aiomm.Dataset.open(str(acq.path))
    assert len(dataset) == len(events)
    sizes = groups(await asyncio.to_thread(compare, dataset, events))
    await asyncio.to_thread(dataset.close)
    assert [len(group.events) for group in plan.groups] == sizes
    assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen()
    assert not rig.mmc.isSequenceRunning()
    return sizes


def alone(rig: Rig, events: list[Event]) -> bool:
    """Events with properties go one by one to Micro-Manager's engine, which would drop them from a hardware sequence."""
    return rig.java and any("properties" in event for event in events)


async def images_of(acq: Any, events: list[Event]) -> list[st.Settings]:
    """The same with the live dataset of an acquisition."""
    return await asyncio.to_thread(compare, acq.get_dataset(), events)


async def read(acq: Any, **axes: Any) -> st.Settings:
    """One image of an acquisition, decoded."""
    return st.decode(await acq.get_dataset().read_image_async(**axes))


def numbered(settings: Iterable[Event]) -> list[Event]:
    return [{"axes": {"n": i}, **each} for i, each in enumerate(settings)]


def state(value: int, device: str = st.SWITCHER) -> Event:
    return {"properties": [[device, "State", str(value)]]}


def preset(name: str, group: str = st.GROUP) -> Event:
    return {"config_group": [group, name]}


# ---- hardware sequences ---------------------------------------------------------------------------------------------

Z_VALUES = [1.0, 4.5, 2.0, 3.0]
PRESETS = ["FITC", "DAPI", "Cy7", "Cy5"]
SWITCHER_VALUES = [3, 1, 9, 2]

SEQUENCES: dict[str, list[Event]] = {
    "z": [{"z": z} for z in Z_VALUES],
    "property": [state(v) for v in SWITCHER_VALUES],
    "preset": [preset(name) for name in PRESETS],
    "preset of two properties": [preset(name, st.PAIR_GROUP) for name in ("Low", "High", "Other", "Off")],
    "preset, seed dialect": [{"channel": {"group": st.GROUP, "config": name}} for name in PRESETS],
    "z and property": [{"z": z, **state(v)} for z, v in zip(Z_VALUES, SWITCHER_VALUES, strict=True)],
    "z and preset": [{"z": z, **preset(name)} for z, name in zip(Z_VALUES, PRESETS, strict=True)],
    "preset and property": [{**preset(name), **state(v, st.SWITCHER_2)} for name, v in zip(PRESETS, SWITCHER_VALUES, strict=True)],
    "two properties": [{"properties": [[st.SWITCHER, "State", str(v)], [st.SWITCHER_2, "State", str(v + 1)]]} for v in SWITCHER_VALUES],
    "z, preset and property": [
        {"z": z, **preset(name), **state(v, st.SWITCHER_2)} for z, name, v in zip(Z_VALUES, PRESETS, SWITCHER_VALUES, strict=True)
    ],
    "z, all else constant": [{"z": z, "x": 5.0, "y": -2.0, "exposure": 2.0, **preset("Cy5")} for z in Z_VALUES],
    "nothing changes": [{"z": 3.0, "exposure": 2.0} for _ in range(5)],
    "some values twice": [{"z": z, **state(v)} for z, v in ((1, 4), (1, 5), (2, 5), (2, 4), (1, 4))],
    "presets that differ in one of their properties": [preset(name, st.PAIR_GROUP) for name in ("Low", "High", "Low", "High")],
    "a preset's property also by event": [{**preset(name), **state(v)} for name, v in zip(PRESETS, SWITCHER_VALUES, strict=True)],
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("what", SEQUENCES)
async def test_one_sequence(rig: Rig, what: str) -> None:
    events = numbered(SEQUENCES[what])
    assert await prove(rig, events) == ([1] * len(events) if alone(rig, events) else [len(events)])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", SEQUENCES)
@options(sequenceable=())
async def test_the_same_by_software(rig: Rig, what: str) -> None:
    events = numbered(SEQUENCES[what])
    sizes = await prove(rig, events)
    if what != "nothing changes":
        assert sizes.count(1) >= len(events) - 2, sizes


@pytest.mark.parametrize("order", ["tpcz", "tpzc"])
@options(max_length=100)
async def test_time_channel_and_z_in_one_sequence(rig: Rig, order: str) -> None:
    events = list(
        aiomm.multi_d_acquisition_events(
            num_time_points=3,
            time_interval_s=0,
            z_start=0,
            z_end=4,
            z_step=1,
            channel_group=st.GROUP,
            channels=["DAPI", "Cy5"],
            order=order,
        )
    )
    assert len(events) == 30
    assert await prove(rig, events) == [30]


@pytest.mark.parametrize(("order", "sizes"), [("tpcz", [5] * 4), ("tpzc", [5] * 4)])
async def test_groups_end_where_the_devices_do(rig: Rig, order: str, sizes: list[int]) -> None:
    events = list(
        aiomm.multi_d_acquisition_events(
            num_time_points=2, z_start=0, z_end=4, z_step=1, channel_group=st.GROUP, channels=["DAPI", "Cy5"], order=order
        )
    )
    assert await prove(rig, events) == sizes


@options(sequenceable=(st.Z,))
async def test_z_merges_though_channels_do_not(rig: Rig) -> None:
    events = list(
        aiomm.multi_d_acquisition_events(
            z_start=0, z_end=3, z_step=1, channel_group=st.GROUP, channels=PRESETS, channel_exposures_ms=[2, 3, 4, 5]
        )
    )
    assert await prove(rig, events) == [4] * 4


@options(sequenceable=(st.SWITCHER,))
async def test_channels_merge_though_z_does_not(rig: Rig) -> None:
    events = list(aiomm.multi_d_acquisition_events(z_start=0, z_end=4, z_step=1, channel_group=st.GROUP, channels=PRESETS, order="tpzc"))
    assert await prove(rig, events) == [4] * 5


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ([{"z": z} for z in range(12)], [5, 5, 2]),
        ([preset(name) for name in (*PRESETS, *PRESETS)], [5, 3]),
        ([state(v) for v in range(11)], [5, 5, 1]),
        ([{"z": min(i, 2)} for i in range(9)], None),
        ([{"z": max(0, i - 6)} for i in range(11)], None),
    ],
    ids=["z", "presets", "property", "constant after steps", "constant before steps"],
)
async def test_lengths_beyond_what_a_device_holds(rig: Rig, settings: list[Event], sizes: list[int] | None) -> None:
    events = numbered(settings)
    got = await prove(rig, events)
    assert sizes is None or got == ([1] * len(events) if alone(rig, events) else sizes)
    for call in rig.mmc.calls_of("loadStageSequence", "loadPropertySequence"):
        assert len(call.args[-1]) <= 5


async def test_the_shortest_of_two_devices_counts(rig: Rig) -> None:
    rig.mmc.setProperty(st.SWITCHER, "TriggerSequenceMaxLength", 3)
    events = numbered({"z": i, **state(i % 4)} for i in range(8))
    assert await prove(rig, events) == ([1] * 8 if rig.java else [3, 3, 2])


async def test_a_property_that_cannot_be_sequenced_splits_the_group(rig: Rig) -> None:
    rig.mmc.setProperty(st.SWITCHER_2, "TriggerSequenceMaxLength", 0)
    events = numbered({"z": i, **state(i // 2, st.SWITCHER_2)} for i in range(6))
    assert await prove(rig, events) == ([1] * 6 if rig.java else [2, 2, 2])


async def test_a_generator_is_sequenced_within_its_windows(rig: Rig) -> None:
    events = numbered({"z": i % 7} for i in range(20))
    async with rig.acquisition(look_ahead=8) as acq:
        await acq.acquire(event for event in events)
    images = await images_of(acq, events)
    assert max(groups(images)) > 1


# ---- by software, and mixed at random -------------------------------------------------------------------------------

BY_SOFTWARE: dict[str, list[Event]] = {
    "xy": [{"x": x, "y": -x} for x in (1.0, 5.0, 3.0, 3.0)],
    "x only": [{"x": x} for x in (1.0, 5.0, 3.0, 5.0)],
    "y only": [{"y": y} for y in (1.0, 5.0, 3.0, 5.0)],
    "x then y": [{"x": 4.0}, {"y": 6.0}, {"x": 1.0}, {"y": 2.0}, {"x": 3.0, "y": 3.0}],
    "exposure": [{"exposure": ms} for ms in (2.0, 5.0, 1.0, 1.0)],
    "named stage": [{"stage_positions": [[st.Z_2, um]]} for um in (7.0, 3.0, 5.0, 5.0)],
    "named stage and z": [{"z": um + 1, "stage_positions": [[st.Z_2, um]]} for um in (7.0, 3.0, 5.0)],
    "the focus by its name": [{"stage_positions": [[st.Z, um]]} for um in (7.0, 3.0, 5.0)],
    "groups whose presets have the same names": [preset(n, g) for n in ("Cy5", "DAPI") for g in (st.GROUP, st.OTHER_GROUP)],
    "all of it": [
        {
            "z": i,
            "x": 2 * i,
            "y": -i,
            "exposure": 1 + i,
            **preset(PRESETS[i]),
            **state(i + 5, st.SWITCHER_2),
            "stage_positions": [[st.Z_2, -i]],
        }
        for i in range(4)
    ],
    "keys that come and go": [
        {"z": 1.0},
        {"x": 2.0},
        {},
        {"z": 5.0, **state(4)},
        {"exposure": 3.0},
        {},
        preset("Cy7"),
        {"z": 1.0, "y": 1.0},
    ],
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("what", BY_SOFTWARE)
@pytest.mark.parametrize("rig", [{}, {"sequenceable": ()}], indirect=True, ids=["sequenceable", "not"])
async def test_by_software(rig: Rig, what: str) -> None:
    await prove(rig, numbered(BY_SOFTWARE[what]))


def mixture(seed: int, count: int) -> list[Event]:
    """Events of which each names some of what there is; many in a row alike, as they are in a scan."""
    rng = random.Random(seed)
    keys: list[str] = []
    events = []
    for _ in range(count):
        if rng.random() < 0.25:
            keys = rng.sample(
                ["z", "xy", "x", "y", "exposure", "preset", "pair", "other", "property", "property_2", "stage"], rng.randint(0, 4)
            )
        event: Event = {}
        for key in keys:
            value = rng.randint(0, 3)
            if key in ("z", "x", "y"):
                event[key] = value
            elif key == "xy":
                event.update(x=value, y=value + 1)
            elif key == "exposure":
                event[key] = 1 + value / 2
            elif key == "stage":
                event["stage_positions"] = [[st.Z_2, value]]
            elif key in ("preset", "pair", "other"):
                group = {"preset": st.GROUP, "pair": st.PAIR_GROUP, "other": st.OTHER_GROUP}[key]
                names = list(st.PAIRS) if key == "pair" else PRESETS
                event["config_group"] = [group, names[value]]
            else:
                device = st.SWITCHER if key == "property" else st.SWITCHER_2
                event.setdefault("properties", []).append([device, "State", str(value)])
        events.append(event)
    return numbered(events)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.campaign) for seed in range(5, 100))])
@pytest.mark.parametrize(
    "rig",
    [{}, {"max_length": 100}, {"sequenceable": ()}, {"sequenceable": (st.Z,)}, {"sequenceable": (st.SWITCHER,)}],
    indirect=True,
    ids=["5", "100", "none", "z", "switcher"],
)
async def test_any_mixture(rig: Rig, seed: int) -> None:
    await prove(rig, mixture(seed, 60))


@only_local("acquisitions on a running Micro-Manager share its settings: each sees what another has set")
async def test_two_acquisitions_keep_their_own_settings(rig: Rig) -> None:
    """Each names its preset and exposure once; the other's events in between must not change them."""
    first = numbered(
        [{"z": 1.0, "exposure": 2.0, **preset("DAPI")}, *({"z": float(i % 3), "min_start_time": i * 0.01} for i in range(1, 12))]
    )
    second = numbered(
        [{"z": 7.0, "exposure": 3.0, **preset("Cy5")}, *({"z": 5.0 + i % 3, "min_start_time": i * 0.01} for i in range(1, 12))]
    )
    async with rig.acquisition() as a, rig.acquisition() as b:
        one, two = a.acquire(first), b.acquire(second)
        await one
        await two
    for acq, events in ((a, first), (b, second)):
        model = Model()
        packets = []
        for event in events:
            model.apply(event)
            image = await read(acq, **axes_of(event))
            packets.append(image.packet)
            assert (image.z, image.exposure, image.switcher) == (model.z, model.exposure, model.switcher)
        assert packets == sorted(packets)


# ---- others' changes ------------------------------------------------------------------------------------------------


async def test_what_was_changed_by_hand_is_commanded_again(rig: Rig) -> None:
    event = {"z": 4.0, "x": 1.0, "y": 2.0, "exposure": 2.0, **preset("Cy5"), "stage_positions": [[st.Z_2, 3.0]]}
    events = numbered([event, event])
    async with rig.acquisition() as acq:
        await acq.acquire(events[:1])
        await rig.core.set_position(90.0)
        await rig.core.set_position(st.Z_2, 80.0)
        await rig.core.set_xy_position(70.0, 60.0)
        await rig.core.set_exposure(9.0)
        await rig.core.set_config(st.GROUP, "Dark")
        await acq.acquire(events[1:])
    second = (await images_of(acq, events))[1]
    assert second.changes(st.Z, "ZPositionUm") == [90.0, 4.0]  # the hand's move was real


async def test_a_hooks_own_move_is_commanded_again(rig: Rig) -> None:
    async def hook(event: Event) -> Event:
        await rig.core.set_position(90.0)
        await rig.core.set_property(st.SWITCHER, "State", 8)
        return event

    events = numbered([{"z": 4.0, **state(3)}, {"z": 4.0, **preset("Cy5")}, {"z": 4.0, **preset("Cy5")}])
    async with rig.acquisition(pre_hardware_hook_fn=hook) as acq:
        for event in events:
            await acq.acquire([event])
    assert [image.changes(st.Z, "ZPositionUm")[-2:] for image in await images_of(acq, events)] == [[90.0, 4.0]] * 3


async def test_the_focus_is_commanded_again_after_a_z_sequence(rig: Rig) -> None:
    events = numbered({"z": z} for z in (0.0, 1.0, 2.0, 3.0, 3.0))
    async with rig.acquisition() as acq:
        await acq.acquire(events[:4])
        await acq.acquire(events[4:])
    assert groups(await images_of(acq, events)) == [4, 1]
    names = [call.name for call in rig.mmc.calls]
    stop = len(names) - 1 - names[::-1].index("stopStageSequence")
    moves = [call.args for call in rig.mmc.calls[stop:] if call.name == "setPosition"]
    assert moves and moves[0][-1] == 3.0


@pytest.mark.parametrize("point", ["event_generation", "pre_hardware", "post_hardware"])
async def test_a_hooks_change_is_applied(rig: Rig, point: str) -> None:
    def hook(event: Event) -> Event:
        return {**event, "z": 42.0}

    async with rig.acquisition(**{f"{point}_hook_fn": hook}) as acq:
        await acq.acquire(numbered([{"z": 1.0}]))
    assert (await read(acq, n=0)).z == 42.0
    metadata = await asyncio.to_thread(acq.get_dataset().read_metadata, n=0)
    assert metadata["ZPosition_um_Intended"] == 42.0


# ---- the shutter ----------------------------------------------------------------------------------------------------


def moves_of_shutter(images: Iterable[st.Settings]) -> list[list[bool]]:
    return [image.changes(st.SHUTTER, "ShutterState") for image in images]


async def test_autoshutter_closes_between_snaps(rig: Rig) -> None:
    events = numbered({"x": float(i)} for i in range(3))
    async with rig.acquisition() as acq:
        await acq.acquire(events)
    assert moves_of_shutter(await images_of(acq, events)) == [[True], [False, True], [False, True]]


@pytest.mark.parametrize("by", ["event", "argument"])
async def test_keep_shutter_open_between_snaps(rig: Rig, by: str) -> None:
    events = numbered({"x": float(i), **({"keep_shutter_open": True} if by == "event" else {})} for i in range(4))
    async with rig.acquisition() as acq:
        await acq.acquire(events, **({"keep_shutter_open": True} if by == "argument" else {}))
    assert moves_of_shutter(await images_of(acq, events)) == [[True], [], [], []]
    assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen()


@pytest.mark.parametrize("closing", [{}, {"keep_shutter_open": False}], ids=["absent", "False"])
async def test_an_event_that_does_not_keep_it_closes_it(rig: Rig, closing: Event) -> None:
    kept = {"keep_shutter_open": True}
    events = numbered([{"x": 0.0, **kept}, {"x": 1.0, **kept}, {"x": 2.0, **closing}, {"x": 3.0, **closing}, {"x": 4.0, **kept}])
    async with rig.acquisition() as acq:
        await acq.acquire(events)
    moves = moves_of_shutter(await images_of(acq, events))
    assert moves[:2] == [[True], []]
    assert moves[3] == [False, True]  # between two events that do not keep it, it closed
    assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen()


async def test_keep_shutter_open_between_sequences(rig: Rig) -> None:
    events = numbered({"z": float(i), "keep_shutter_open": True} for i in range(10))
    async with rig.acquisition() as acq:
        await acq.acquire(events)
    images = await images_of(acq, events)
    assert groups(images) == [5, 5]
    assert moves_of_shutter(images) == [[True]] + [[]] * 9
    assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen()


async def test_keep_shutter_open_between_z_steps(rig: Rig) -> None:
    events = list(
        aiomm.multi_d_acquisition_events(
            num_time_points=2, time_interval_s=0.02, z_start=0, z_end=7, z_step=1, keep_shutter_open_between_z_steps=True
        )
    )
    async with rig.acquisition() as acq:
        await acq.acquire(events)
    moves = moves_of_shutter(await images_of(acq, events))
    assert moves[0] == [True]
    assert moves[1:8] == [[]] * 7
    assert rig.mmc.getAutoShutter() and not rig.mmc.getShutterOpen()


@pytest.mark.parametrize("opened", [True, False])
async def test_without_autoshutter_the_shutter_is_the_users(rig: Rig, opened: bool) -> None:
    rig.mmc.setAutoShutter(False)
    rig.mmc.setShutterOpen(opened)
    async with rig.acquisition() as acq:
        await acq.acquire(numbered({"x": float(i), "keep_shutter_open": i == 1} for i in range(3)))
        await acq.acquire([{"axes": {"n": 10 + i}, "z": float(i)} for i in range(3)])
    assert [(await read(acq, n=n)).shutter_open for n in (0, 1, 2, 10, 11, 12)] == [opened] * 6
    assert rig.mmc.getShutterOpen() is opened and not rig.mmc.getAutoShutter()


# ---- cameras --------------------------------------------------------------------------------------------------------


@options(cameras=2)
async def test_two_cameras_snapped(rig: Rig) -> None:
    events = numbered({"x": float(i), "z": float(i)} for i in range(3))
    async with rig.acquisition() as acq:
        saved = await acq.acquire(events)
    assert len(saved) == 6
    for axes in saved:
        image = await read(acq, **axes)
        assert image.camera == axes["camera"]
        assert (image.z, image.xy) == (float(axes["n"]), (float(axes["n"]), 0.0))


@options(cameras=2)
async def test_two_cameras_in_one_sequence(rig: Rig) -> None:
    events = numbered({"z": float(i)} for i in range(5))
    async with rig.acquisition() as acq:
        saved = await acq.acquire(events)
    assert len(saved) == 10
    for axes in saved:
        image = await read(acq, **axes)
        assert (image.camera, image.frame, image.in_sequence) == (axes["camera"], axes["n"], True)
        if image.camera == st.CAMERA:  # the one that triggers the stage
            assert image.z == float(axes["n"])


@pytest.mark.parametrize("count", [1, 4])
@options(cameras=2)
async def test_an_event_names_its_camera(rig: Rig, count: int) -> None:
    rig.mmc.setCameraDevice(st.CAMERA)
    events = numbered({"camera": camera, "exposure": ms} for camera, ms in ((st.CAMERA_2, 3.0), (st.CAMERA, 2.0)) for _ in range(count))
    async with rig.acquisition() as acq:
        saved = await acq.acquire(events)
    assert len(saved) == len(events)
    for event in events:
        [axes] = [axes for axes in saved if axes["n"] == event["axes"]["n"]]
        image = await read(acq, **axes)
        assert (image.camera, image.exposure) == (event["camera"], event["exposure"])
    assert rig.mmc.getCameraDevice() == st.CAMERA


# ---- what no test device can sequence: the calls --------------------------------------------------------------------

OF_SEQUENCES = (
    *(f"{verb}{kind}Sequence" for verb in ("load", "start", "stop") for kind in ("XYStage", "Exposure", "Stage", "Property")),
    "startSequenceAcquisition",
)


async def planned_and_called(rig: Rig, events: list[Event]) -> Any:
    """Acquire events that make one group; the group, when each call came must be right."""
    async with rig.acquisition() as acq:
        plan = await acq.plan(events)
        rig.mmc.forget()
        saved = await acq.acquire(events)
    assert len(saved) == len(events)
    [group] = plan.groups
    calls = rig.mmc.calls_of(*OF_SEQUENCES)
    assert not any(call.error for call in calls)
    names = [call.name for call in calls]
    camera = names.index("startSequenceAcquisition")
    for i, call in enumerate(calls):
        if call.name.startswith("load"):
            started = names.index(call.name.replace("load", "start"))
            assert i < started < camera
        elif call.name != "startSequenceAcquisition":
            assert (i < camera) == call.name.startswith("start") or call.name.startswith("stop")
    for kind in {name.removeprefix("start") for name in names[:camera] if name.startswith("start")}:
        assert f"stop{kind}" in names[camera:]
    assert calls[camera].args[-3] == len(events)
    return group


@pytest.mark.parametrize(
    "places",
    [[(0.0, 1.0), (5.0, 2.0), (2.0, 3.0)], [(1.0, 4.0), (2.0, 4.0), (3.0, 4.0)], [(4.0, 1.0), (4.0, 2.0), (4.0, 3.0)]],
    ids=["xy", "along x", "along y"],
)
async def test_an_xy_sequence_is_what_the_plan_says(rig: Rig, places: list[tuple[float, float]]) -> None:
    rig.mmc.feign_xy_sequence(st.XY, 5)
    events = numbered({"x": x, "y": y} for x, y in places)
    if rig.java and 1 in (len({x for x, _ in places}), len({y for _, y in places})):  # its engine would load nothing
        assert await prove(rig, events) == [1] * len(events)
        return
    group = await planned_and_called(rig, events)
    assert list(group.xy) == places
    [call] = rig.mmc.calls_of("loadXYStageSequence")
    assert call.args == (st.XY, [x for x, _ in places], [y for _, y in places])


async def test_an_exposure_sequence_is_what_the_plan_says(rig: Rig) -> None:
    rig.mmc.feign_exposure_sequence(st.CAMERA, 5)
    exposures = [1.0, 2.5, 1.5, 2.0]
    group = await planned_and_called(rig, numbered({"exposure": ms} for ms in exposures))
    assert list(group.exposure) == exposures
    [call] = rig.mmc.calls_of("loadExposureSequence")
    assert call.args == (st.CAMERA, exposures)


async def test_everything_in_one_sequence(rig: Rig) -> None:
    rig.mmc.feign_xy_sequence(st.XY, 5)
    rig.mmc.feign_exposure_sequence(st.CAMERA, 5)
    events = numbered({"x": float(i), "y": 2.0 * i, "z": 3.0 * i, "exposure": 1.0 + i, **preset(PRESETS[i])} for i in range(4))
    group = await planned_and_called(rig, events)
    assert list(group.z) == [0.0, 3.0, 6.0, 9.0]
    loaded = {call.name: call.args for call in rig.mmc.calls_of(*OF_SEQUENCES) if call.name.startswith("load")}
    assert loaded["loadXYStageSequence"][1:] == ([0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 4.0, 6.0])
    assert loaded["loadExposureSequence"][1:] == ([1.0, 2.0, 3.0, 4.0],)
    assert loaded["loadStageSequence"][1:] == ([0.0, 3.0, 6.0, 9.0],)
    assert loaded["loadPropertySequence"][1:] == ("State", [st.CHANNELS[name] for name in PRESETS])


async def test_feigned_lengths_split_the_group(rig: Rig) -> None:
    rig.mmc.feign_xy_sequence(st.XY, 3)
    async with rig.acquisition() as acq:
        await acq.acquire(numbered({"x": float(i), "y": -float(i)} for i in range(8)))
    assert [len(call.args[1]) for call in rig.mmc.calls_of("loadXYStageSequence")] == [3, 3, 2]
