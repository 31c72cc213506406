"""Is everything that aiomm's packages export completely typed? Asks pyright, and says what is missing.

pyright counts every name without an underscore as public. In aiomm only what a package's ``__init__`` exports is.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

PACKAGES = ("aiomm", "aiomm.errors", "aiomm.core", "aiomm.acquire", "aiomm.dataset", "aiomm.viewer")


def main() -> int:
    """Print what is not completely typed; return the number of such names."""
    command = ["pyright", "--verifytypes", "aiomm", "--ignoreexternal", "--outputjson"]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    if "typeCompleteness" not in report:
        print(json.dumps(report.get("generalDiagnostics", report), indent=1))
        return 1
    symbols = {symbol["name"]: symbol for symbol in report["typeCompleteness"]["symbols"]}
    failed = 0
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            exported = getattr(importlib.import_module(package), name)
            home = f"{getattr(exported, '__module__', package)}.{getattr(exported, '__qualname__', name)}"
            symbol = symbols.get(f"{package}.{name}") or symbols.get(home)
            if symbol is None:
                print(f"{package}.{name}: pyright does not see it")
            elif symbol["isTypeKnown"]:
                continue
            else:
                print(f"{package}.{name} is not completely typed:")
                inside = [s for known, s in symbols.items() if known == home or known.startswith(f"{home}.")]
                for diagnostic in [d for s in inside for d in s["diagnostics"]]:
                    line = diagnostic["range"]["start"]["line"] + 1 if "range" in diagnostic else "?"
                    print(f"  {diagnostic['file']}:{line}: {diagnostic['message']}")
            failed += 1
    print(f"{failed} exported names are not completely typed" if failed else "every exported name is completely typed")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
