"""What the packages export is there, is documented, and is all there is."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

PACKAGES = ["aiomm", "aiomm.errors", "aiomm.bridge", "aiomm.core", "aiomm.acquire", "aiomm.dataset", "aiomm.viewer", "aiomm.cli"]
EXPORTS = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]


@pytest.mark.parametrize(("package", "name"), EXPORTS, ids=lambda value: value)
def test_an_exported_name_is_there_and_documented(package: str, name: str) -> None:
    exported = getattr(importlib.import_module(package), name)
    if inspect.isclass(exported) or inspect.isroutine(exported):
        assert exported.__module__.startswith("aiomm.")
        doc = inspect.getdoc(exported)
        assert doc
        assert not doc.startswith(f"{exported.__name__}(")  # what dataclass writes when nobody else did


@pytest.mark.parametrize("package", PACKAGES)
def test_exports_are_sorted_and_without_repetition(package: str) -> None:
    names = importlib.import_module(package).__all__
    assert sorted(set(names)) == list(names)


@pytest.mark.parametrize(("package", "name"), [(p, n) for p, n in EXPORTS if p == "aiomm" and n[0].isupper()], ids=lambda value: value)
def test_public_methods_are_documented(package: str, name: str) -> None:
    exported = getattr(importlib.import_module(package), name)
    public = {attribute: value for attribute, value in vars(exported).items() if not attribute.startswith("_")}
    callable_ones = {a: v for a, v in public.items() if inspect.isroutine(v) or isinstance(v, property | classmethod)}
    assert [attribute for attribute, value in callable_ones.items() if not inspect.getdoc(value)] == []


def test_importing_is_quiet_and_needs_no_extra() -> None:
    """Only base dependencies are imported, no logging is set up, nothing is printed."""
    program = (
        "import sys\n"
        "for extra in ('PIL', 'cloudpickle', 'useq', 'distributed', 'mm_test_adapters'): sys.modules[extra] = None\n"
        "import aiomm, aiomm.cli, aiomm.viewer, logging\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('aiomm').handlers\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
