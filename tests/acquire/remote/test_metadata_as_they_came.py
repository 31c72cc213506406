"""Metadata of Micro-Manager's images are saved as the text that they came as where nobody has changed them, and anew where somebody has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aiomm.acquire.processing import plain, same_axes
from aiomm.bridge.frames import read_apart, read_object
from aiomm.dataset import encode
from aiomm.errors import ProtocolError
from tests.support.homes import Home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.jvm.host import JavaHost
    from tests.support.rigs import Rig

Metadata = dict[str, Any]


@pytest.fixture
async def rig(java_host: JavaHost, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Home("java", java_host).demo(tmp_path) as rig:
        yield rig


def in_place(metadata: Metadata) -> Metadata:
    metadata["Camera-Gain"] = "mine"
    return metadata


def of_another_type(metadata: Metadata) -> Metadata:
    metadata["SliceIndex"] = metadata["SliceIndex"] == 0  # True for 0: neither may be taken for 1 or 0
    metadata["BitDepth"] = float(metadata["BitDepth"])
    return metadata


def one_less(metadata: Metadata) -> Metadata:
    del metadata["Camera-Gain"]
    return metadata


def one_more(metadata: Metadata) -> Metadata:
    return {**metadata, "mine": {"deep": [1, {"deeper": float("nan")}]}}


def renamed(metadata: Metadata) -> Metadata:
    return {f"my {key}" if key == "Camera-Gain" else key: value for key, value in metadata.items()}


def other_axes(metadata: Metadata) -> Metadata:
    metadata["Axes"]["time"] += 7
    return metadata


def swapped(metadata: Metadata) -> Metadata:
    keys = [key for key in metadata if key not in ("Axes", "Width", "Height", "PixelType", "BitDepth")]
    return {**metadata, **dict(zip(keys, [metadata[key] for key in reversed(keys)], strict=True))}


@pytest.mark.parametrize("change", [in_place, of_another_type, one_less, one_more, renamed, other_axes, swapped])
@pytest.mark.parametrize("tags", [None, {"note": "one", "deep": "two"}])
async def test_what_a_processor_has_changed_is_saved_as_it_is(
    rig: Rig, change: Callable[[Metadata], Metadata], tags: dict[str, str] | None
) -> None:
    returned: list[Metadata] = []

    async def process(image: Any, metadata: Metadata) -> Any:
        changed = change(metadata)
        returned.append(json.loads(encode.encode_json(changed)))
        return image, changed

    event = {} if tags is None else {"tags": tags}
    async with rig.acquisition(image_process_fn=process) as acq:
        await acq.acquire([{"axes": {"time": n}, **event} for n in range(4)])
    dataset = acq.get_dataset()
    assert len(returned) == 4
    for metadata in returned:
        saved = dataset.read_metadata(**metadata["Axes"])
        assert json.dumps(saved, sort_keys=True) == json.dumps(metadata, sort_keys=True)  # 1, 1.0 and True differ there


async def test_a_tag_that_a_processor_has_changed_inside_is_saved(rig: Rig) -> None:
    async def process(image: Any, metadata: Metadata) -> Any:
        metadata["tags"]["note"] = "changed"
        return image, metadata

    async with rig.acquisition(image_process_fn=process) as acq:
        await acq.acquire([{"axes": {"time": n}, "tags": {"note": "as it was"}} for n in range(3)])
    assert [acq.get_dataset().read_metadata(time=n)["tags"] for n in range(3)] == [{"note": "changed"}] * 3


async def test_pixels_of_another_shape_and_type_say_so(rig: Rig) -> None:
    async with rig.acquisition(image_process_fn=lambda image, metadata: (image[::2, ::4].astype(np.uint8), metadata)) as acq:
        await acq.acquire([{"axes": {"time": n}} for n in range(3)])
    pixels, metadata = acq.get_dataset().read_image(time=2, read_metadata=True)
    height, width = pixels.shape
    assert (metadata["Height"], metadata["Width"], metadata["PixelType"], metadata["BitDepth"]) == (height, width, "GRAY8", 8)


async def test_unchanged_metadata_are_not_written_anew(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Metadata] = []
    anew: list[Any] = []

    async def process(image: Any, metadata: Metadata) -> Any:
        seen.append({**metadata, "Axes": dict(metadata["Axes"])})
        return image, metadata

    from aiomm.dataset import packing

    write = packing.encode_metadata
    monkeypatch.setattr(packing, "encode_metadata", lambda *given: anew.append(given) or write(*given))
    async with rig.acquisition(image_process_fn=process) as acq:
        await acq.acquire([{"axes": {"time": n}} for n in range(5)])
    assert [acq.get_dataset().read_metadata(time=n) for n in range(5)] == seen
    assert not anew


async def test_axes_beyond_ascii_are_right(rig: Rig) -> None:
    async with rig.acquisition(image_process_fn=lambda image, metadata: (image, metadata)) as acq:
        await acq.acquire([{"axes": {"time": n, "name": "é中"}} for n in range(3)])
    for n in range(3):
        assert acq.get_dataset().read_metadata(time=n, name="é中")["Axes"] == {"time": n, "name": "é中"}


# ---- without Java ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"m":{"a":1.50e2},"p":"@1"}', '{"a":1.50e2}'),
        (b'{"m":{"a":"}\\"{"},"p":[1,{"m":2}]}', '{"a":"}\\"{"}'),
        (b'{"p":"@1","m":{"a":1}}', None),
        (b'{"m":{"a":1}}', None),
        (b'{"m":{"a":1},"p":0,"m":{"a":2}}', None),
    ],
)
def test_the_text_of_a_member(text: bytes, found: str | None) -> None:
    message, member = read_apart(text, "m")
    assert message == read_object(text)
    assert member == found
    assert found is None or json.loads(found) == message["m"]


@pytest.mark.parametrize(
    "text", [b"", b'{"m":{"a":1}', b'{"m":{"a":1},}', b'{"m":{"a":1},"p":2', b'{"m":NaN,"p":2}', b'{"m":1,"p":2}}', b"[]"]
)
def test_what_is_no_message_is_none(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_apart(text, "m")


def test_metadata_with_anything_inside_are_not_plain() -> None:
    assert plain({"Axes": {"z": 1}, "a": "b", "c": 1.5, "d": None, "e": True})
    assert not plain({"Axes": {"z": 1}, "tags": {}})
    assert not plain({"Axes": {"z": 1}, "list": []})
    assert not plain({"Axes": "z", "tags": {}})
    assert not plain({})


def test_axes_of_other_types_are_others() -> None:
    assert same_axes({"z": 1, "c": "x"}, {"c": "x", "z": 1})
    for other in ({"z": True, "c": "x"}, {"z": 1.0, "c": "x"}, {"z": 1}, {"z": 1, "c": "x", "t": 0}, None, [("z", 1)]):
        assert not same_axes({"z": 1, "c": "x"}, other)
