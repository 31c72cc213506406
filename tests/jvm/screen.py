"""A screen that nobody sees, for a JVM that opens windows: Xvfb, on a display number of its own."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.jvm.host import missing_tools

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 20.0


def missing_screen() -> str | None:
    """Why no JVM can open a window here, or None."""
    if (reason := missing_tools()) is not None:
        return reason
    if shutil.which("Xvfb") is None:
        return "needs a screen: Xvfb is not on PATH"
    java = shutil.which("java")
    assert java is not None
    home = Path(java).resolve().parent.parent
    if next(home.rglob("libawt_xawt.so"), None) is None:
        return f"needs a JDK that opens windows: the one in {home} is headless"
    return None


@contextlib.contextmanager
def invisible_screen() -> Iterator[str]:
    """Start Xvfb, give the name of its display, and end it afterwards."""
    reading, writing = os.pipe()
    try:
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
        server = subprocess.Popen(command, pass_fds=[writing], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        with os.fdopen(reading) as said:  # it says the number when it takes connections
            number = said.readline().strip() if select.select([said], [], [], START_S)[0] else ""
        assert number, f"Xvfb did not start within {START_S:g} s"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()
