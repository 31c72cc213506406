"""Cancel, close and abort an acquisition at every single step of its loop; ``python -m tests.campaigns.cancel_everywhere``.

The tests in tests/hazards sample these steps; this takes them all.
"""

from __future__ import annotations

import time

from tests.hazards.test_cancel import WAYS, sweep
from tests.support.ends import demo_core, figures


def main() -> None:
    """Every way, every step."""
    mmc = demo_core()
    try:
        for way in WAYS:
            start = time.monotonic()
            runs, total = sweep(mmc, way, stride=1)
            print(f"{way}: {runs} runs, a whole one has {total} steps; {time.monotonic() - start:.0f} s", flush=True)
    finally:
        mmc.unloadAllDevices()
    print(figures())


if __name__ == "__main__":
    main()
