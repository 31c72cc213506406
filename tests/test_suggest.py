"""A misspelt keyword argument's error suggests the right one, and the signature stays as it is."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

import aiomm

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("function", "wrong", "says"),
    [
        (aiomm.LocalCore, "buffer_mib", "LocalCore has no parameter 'buffer_mib'; did you mean 'buffer_mb'?"),
        (aiomm.LocalCore.open, "adapter_path", "LocalCore.open has no parameter 'adapter_path'; did you mean 'adapter_paths'?"),
        (aiomm.multi_d_acquisition_events, "num_timepoints", "multi_d_acquisition_events has no parameter 'num_timepoints'; did you mean"),
        (aiomm.Acquisition, "image_proces_fn", "Acquisition has no parameter 'image_proces_fn'; did you mean 'image_process_fn'?"),
        (aiomm.LocalCore, "xyz", "the parameters are config, adapter_paths, buffer_mb, mmcore"),
        (aiomm.LocalCore, "self", None),
    ],
)
def test_the_right_one_is_suggested(function: Callable[..., Any], wrong: str, says: str | None) -> None:
    with pytest.raises(TypeError) as caught:
        function(**{wrong: 1})
    assert says is None or says in str(caught.value)


def test_signatures_stay_visible() -> None:
    assert list(inspect.signature(aiomm.LocalCore).parameters) == ["config", "adapter_paths", "buffer_mb", "mmcore"]
    assert inspect.signature(aiomm.LocalCore.open).parameters.keys() == inspect.signature(aiomm.LocalCore).parameters.keys()
    assert "num_time_points" in inspect.signature(aiomm.multi_d_acquisition_events).parameters
