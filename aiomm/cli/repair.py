"""``aiomm repair``: say what is damaged in a dataset, and repair it when told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiomm.dataset import repair

if TYPE_CHECKING:
    from pathlib import Path

HOW = "Nothing was changed; --apply does it."


def repair_dataset(path: Path, apply: bool) -> tuple[str, bool]:
    """Examine or repair; give the text to print, and whether the dataset is whole now as far as it can be."""
    report = repair(path, dry_run=not apply)
    text = str(report)
    if report.needed and not report.applied:
        text += f"\n{HOW}"
    return text, report.opens and (report.applied or not report.needed)
