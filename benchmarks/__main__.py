"""Run every benchmark, or the one named first with the arguments after it: ``python -m benchmarks engine --rounds 3``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run one benchmark, or all of them with their defaults."""
    names = sorted(path.stem.removeprefix("bench_").replace("_", "-") for path in Path(__file__).parent.glob("bench_*.py"))
    arguments = sys.argv[1:]
    if arguments and arguments[0] not in names:
        sys.exit(f"no benchmark {arguments[0]!r}: there are {', '.join(names)}")
    for name in arguments[:1] or names:
        print(f"== {name}")
        importlib.import_module(f"benchmarks.bench_{name.replace('-', '_')}").main(arguments[1:])


if __name__ == "__main__":
    main()
