"""The long form of ``python -m tests.campaigns.standing_still``."""

from __future__ import annotations

import pytest

from tests.campaigns.standing_still import run


@pytest.mark.campaign
@pytest.mark.blocks
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("java", [False, True], ids=["local", "java"])
def test_no_acquisition_stands_still(java: bool) -> None:
    assert run(600, java=java, busy=2) > 1000
