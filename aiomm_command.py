"""Where the ``aiomm`` command begins: Ctrl-C is answered before anything is imported that takes time.

It stands beside the package: whoever imports a part of ``aiomm`` imports all of it first.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes its time
    from types import FrameType
    from typing import Any

__all__ = ["begun", "main"]

_usual: list[tuple[int, Any]] = []  # signals that are answered here, and what answered them before
_earned: list[int] = []  # signals that end what is left with the exit code of the command


def main() -> None:
    """Run the ``aiomm`` command."""
    try:
        import atexit
        import signal

        atexit.register(last)  # first, so that it comes after all others
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) is handler:  # any other, such as nohup's, stays
                _usual.append((number, signal.signal(number, leave)))
        from aiomm.cli import main as command

        code = 1
        try:
            command()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            raise
        except KeyboardInterrupt:
            code = 130
            raise
        finally:
            ended(code)
    except KeyboardInterrupt:
        say("aiomm: stopped\n")
        sys.exit(130)


def begun() -> None:
    """From here on the work of the command has begun, and answers by itself."""
    import signal

    while _usual:
        signal.signal(*_usual.pop())


def ended(code: int) -> None:
    """From here on there is nothing to interrupt: a signal ends what is left of the process, with the exit code that it has earned."""
    import signal

    begun()
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is handler:
            signal.signal(number, lambda *_: os._exit(code))
            _earned.append(number)


def last() -> None:
    """Python takes its handlers away now, and has memory to let go still: a Ctrl-C would end it by the signal."""
    import signal

    if signal.SIGINT in _earned:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave(number: int, frame: FrameType | None) -> None:
    """Leave at once. An exception could get lost in the middle of an import."""
    say("aiomm: stopped: nothing was begun\n")
    os._exit(128 + number)


def say(text: str) -> None:
    """Write on stderr, if there is one."""
    try:  # contextlib is of what takes its time
        os.write(2, text.encode())
    except OSError:
        pass
