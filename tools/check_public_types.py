"""Is everything that aiomm's packages export typed? Asks pyright, and says what is missing.

pyright counts every name without an underscore as public, and every class that a public one mentions. In aiomm only what
a package's ``__init__`` exports is public: of those names, each member must have a type that is known and written down.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

PACKAGES = ("aiomm", "aiomm.errors", "aiomm.bridge", "aiomm.core", "aiomm.acquire", "aiomm.dataset", "aiomm.viewer")


def faults(symbol: dict[str, Any]) -> list[str]:
    """Say what is wrong with one name; a type that only mentions an internal one with inferred attributes is not at fault."""
    if symbol["isTypeKnown"]:
        return []
    own = [d for d in symbol["diagnostics"] if not symbol["isTypeAmbiguous"] or "missing type annotation" in d["message"]]
    lines = [d["range"]["start"]["line"] + 1 if "range" in d else "?" for d in own]
    return [f"{d['file']}:{line}: {symbol['name']}: {d['message']}" for d, line in zip(own, lines, strict=True)]


def main() -> int:
    """Print what is not typed; return how many faults there are."""
    command = ["pyright", "--verifytypes", "aiomm", "--ignoreexternal", "--outputjson"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    if "typeCompleteness" not in report:
        print(json.dumps(report.get("generalDiagnostics", report), indent=1))
        return 1
    symbols = {symbol["name"]: symbol for symbol in report["typeCompleteness"]["symbols"]}
    found: dict[str, None] = {}
    seen = 0
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            exported = getattr(importlib.import_module(package), name)
            home = f"{getattr(exported, '__module__', package)}.{getattr(exported, '__qualname__', name)}"
            inside = [symbol for known, symbol in symbols.items() if known == home or known.startswith(f"{home}.")]
            seen += len(inside)
            found.update(dict.fromkeys(fault for symbol in inside for fault in faults(symbol)))
    for fault in found:
        print(fault)
    print(f"{seen} exported names and their members, {len(found)} of them not typed")
    return len(found) if seen else 1


if __name__ == "__main__":
    sys.exit(min(main(), 1))
