"""Make aiomm/core/api.pyi and aiomm/core/methods.py from the signatures that come with the installed pymmcore.

``python tools/make_core_stub.py`` writes both files; with ``--check`` it exits with 1 if they differ from what it would write.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from pathlib import Path

import pymmcore

from aiomm.core.names import public_methods, snake_case

CORE = Path(__file__).resolve().parent.parent / "aiomm" / "core"

# What aiomm's twin of a method takes or gives differently: (parameters, result, sentence for the docstring).
Form = tuple[list[str], str]
_IMAGE = "NDArray[Any]"
_CONFIGURATION = "dict[tuple[str, str], str]"
SPECIAL: dict[str, tuple[list[Form], str]] = {
    "getImage": ([([], _IMAGE), (["num_channel: int"], _IMAGE)], "Pixels as (y, x), or (y, x, 3) in the order red, green, blue."),
    "getLastImage": ([([], _IMAGE)], "Pixels as (y, x), or (y, x, 3) in the order red, green, blue."),
    "popNextImage": ([([], _IMAGE)], "Pixels as (y, x), or (y, x, 3) in the order red, green, blue."),
    "getLastImageMD": (
        [([], "TaggedImage"), (["channel: int", "slice: int"], "TaggedImage")],
        "Pixels and tags; MMCore's Metadata argument is not passed.",
    ),
    "popNextImageMD": (
        [([], "TaggedImage"), (["channel: int", "slice: int"], "TaggedImage")],
        "Pixels and tags; MMCore's Metadata argument is not passed.",
    ),
    "getNBeforeLastImageMD": ([(["n: int"], "TaggedImage")], "Pixels and tags; MMCore's Metadata argument is not passed."),
    "getROI": ([([], "tuple[int, int, int, int]"), (["label: str"], "tuple[int, int, int, int]")], "x, y, width, height in pixels."),
    "getMultiROI": (
        [([], "tuple[tuple[int, int, int, int], ...]")],
        "One (x, y, width, height) per region, in pixels; MMCore's four output arguments are not passed.",
    ),
    "getXYPosition": ([([], "tuple[float, float]"), (["xy_stage_label: str"], "tuple[float, float]")], "x and y in µm."),
    "getGalvoPosition": ([(["galvo_label: str"], "tuple[float, float]")], "x and y in the device's units."),
    "setSystemState": (
        [(["conf: Mapping[tuple[str, str], Any]"], "None")],
        "``conf`` maps (device, property) to a value, as ``get_system_state()`` gives it.",
    ),
    "loadSystemConfiguration": ([(["file_name: str | os.PathLike[str]"], "None")], ""),
    "saveSystemConfiguration": ([(["file_name: str | os.PathLike[str]"], "None")], ""),
    "loadSystemState": ([(["file_name: str | os.PathLike[str]"], "None")], ""),
    "saveSystemState": ([(["file_name: str | os.PathLike[str]"], "None")], ""),
    "setSLMImage": (
        [(["slm_label: str", "pixels: NDArray[np.uint8]"], "None")],
        "``pixels`` is (y, x), or (y, x, 3) for red, green, blue.",
    ),
    "loadSLMSequence": ([(["slm_label: str", "image_sequence: Sequence[bytes | NDArray[np.uint8]]"], "None")], ""),
    "readFromSerialPort": ([(["port_label: str"], "bytes")], ""),
    "registerCallback": (
        [(["cb: object"], "None")],
        "Always refused: MMCore keeps one callback only. Use ``core.events()``.",
    ),
}

# What MMCoreJ has and pymmcore does not, written by hand in aiomm/core/calls.py; and snap.
EXTRA: list[tuple[str, list[Form], str]] = [
    (
        "snap",
        [([], _IMAGE)],
        "Expose, and give the image: (y, x), or (y, x, 3) in the order red, green, blue.\n\n"
        "One call on the hardware thread. Of a camera with several channels, the first.",
    ),
    (
        "getTaggedImage",
        [(["camera_channel_index: int = 0"], "TaggedImage")],
        "The image of the last ``snap_image()`` with its tags, as Micro-Manager's Java core gives it.",
    ),
    (
        "getLastTaggedImage",
        [(["camera_channel_index: int | None = None"], "TaggedImage")],
        "The newest image of the circular buffer with its tags; it stays in the buffer.",
    ),
    ("getNBeforeLastTaggedImage", [(["n: int"], "TaggedImage")], "The image that came ``n`` images before the newest, with its tags."),
    (
        "popNextTaggedImage",
        [(["camera_channel_index: int | None = None"], "TaggedImage")],
        "Take the oldest image out of the circular buffer, with its tags.",
    ),
    ("getPixelSizeAffineAsString", [([], "str")], "The affine transform as Micro-Manager's metadata has it: six numbers between ``_``."),
    ("getXYStagePosition", [(["xy_stage_label: str | None = None"], "tuple[float, float]")], "x and y in µm."),
]

HEAD = '''"""The typed face of a Micro-Manager core: each MMCore method, awaitable, in snake_case."""

# Made by tools/make_core_stub.py from pymmcore's signatures. Do not edit.

import os
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from aiomm.core.images import TaggedImage

def bind(snake: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]: ...
def core_method(snake: str) -> str | None: ...
def parameters(form: str) -> list[Parameter]: ...
def method_names() -> list[str]: ...

class Core:
    """A Micro-Manager core whose methods are awaited.

    Units: ms for exposures and delays, µm for positions. Each method raises `CoreError`, with the device and
    MMCore's own text, when MMCore or a device refuses, and `ClosedError` after the core was closed.
    """

    async def call_core(self, method: str, args: tuple[Any, ...]) -> Any: ...
'''


_INTS = ("DeviceType", "PropertyType", "FocusDirection", "DeviceDetectionStatus", "DeviceInitializationState", "LogLevel")
_NAMES = ("AdapterName", "DeviceLabel", "DeviceName", "PropertyName", "ConfigGroupName", "ConfigPresetName", "PixelSizeConfigName")
_WORDS = (
    ("npt.NDArray", "NDArray"),
    ("np.ndarray", _IMAGE),
    ("Tuple[", "tuple["),
    ("List[", "list["),
    ("AffineTuple", "tuple[float, float, float, float, float, float]"),
)


def annotation(text: str) -> str:
    """A type of pymmcore's stub in the words of ours."""
    if text == "Configuration":
        return _CONFIGURATION
    if text in _INTS:
        return "int"
    for old, new in _WORDS:
        text = text.replace(old, new)
    for name in (*_NAMES, "StateLabel", "FeatureFlag"):
        text = text.replace(f"{name} | str", "str").replace(f"{name} | Literal['']", "str").replace(name, "str")
    if text.startswith("Union["):
        text = " | ".join(part.strip() for part in text[6:-1].split(","))
    return text


def read_pymmcore() -> dict[str, tuple[list[Form], str]]:
    """Each CMMCore method's forms (parameters and result) and docstring."""
    source = Path(pymmcore.__file__).with_name("__init__.pyi").read_text(encoding="utf-8")
    core = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "CMMCore")
    found: dict[str, tuple[list[Form], str]] = {}
    for node in core.body:
        if not isinstance(node, ast.FunctionDef) or node.name == "__init__":
            continue
        static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
        parameters = node.args.args[0 if static else 1 :]
        if node.args.defaults or node.args.kwonlyargs:
            raise SystemExit(f"{node.name}: a form of signature that this script does not know yet")
        form = (
            [f"{snake_case(p.arg)}: {annotation(ast.unparse(p.annotation)) if p.annotation else 'Any'}" for p in parameters],
            annotation(ast.unparse(node.returns)) if node.returns else "Any",
        )
        forms, doc = found.setdefault(node.name, ([], ast.get_docstring(node) or ""))
        forms.append(form)
        found[node.name] = (forms, doc or ast.get_docstring(node) or "")
    return found


def all_methods() -> list[tuple[str, str, list[Form], str]]:
    """(snake_case name, MMCore's name or that of MMCoreJ's twin, forms, docstring), in alphabetical order."""
    stub = read_pymmcore()
    rows = []
    for name in public_methods(dir(pymmcore.CMMCore)):
        forms, doc = stub.get(name, ([(["*args: Any"], "Any")], ""))
        if name in SPECIAL:
            special, sentence = SPECIAL[name]
            forms, doc = special, f"{doc}\n\n{sentence}" if sentence else doc
        elif any(result == _CONFIGURATION for _, result in forms):
            doc += "\n\nA dict that maps (device, property) to the value."
        rows.append((snake_case(name), name, forms, doc.strip() or f"MMCore's ``{name}``."))
    rows += [(snake_case(name), name, forms, doc) for name, forms, doc in EXTRA]
    return sorted(rows)


def docstring(doc: str, indent: str) -> str:
    lines = [line for part in doc.splitlines() for line in (textwrap.wrap(part, 110) or [""])]
    if len(lines) == 1:
        return f'{indent}"""{lines[0]}"""\n'
    body = "\n".join(f"{indent}{line}".rstrip() for line in lines[1:])
    return f'{indent}"""{lines[0]}\n{body}\n{indent}"""\n'


def make_stub(rows: list[tuple[str, str, list[Form], str]]) -> str:
    out = [HEAD]
    for snake, _, forms, doc in rows:
        for k, (parameters, result) in enumerate(forms):
            if len(forms) > 1:
                out.append("    @overload\n")
            listed = ", ".join(["self", *parameters])
            head = f"    async def {snake}({listed}) -> {result}:"
            if len(head) > 140:
                head = f"    async def {snake}(\n        " + ",\n        ".join(["self", *parameters]) + f",\n    ) -> {result}:"
            out.append(f"{head}\n{docstring(doc, '        ')}" if k == 0 else f"{head} ...\n")
    return "".join(out)


def make_table(rows: list[tuple[str, str, list[Form], str]]) -> str:
    out = [
        '"""Each method of a core: MMCore\'s name, parameters of each form, result, what it does."""\n\n',
        "# Made by tools/make_core_stub.py from pymmcore's signatures. Do not edit.\n# fmt: off\n# ruff: noqa: E501\n\n",
        "from __future__ import annotations\n\n",
        "METHODS: dict[str, tuple[str, tuple[str, ...], str, str]] = {\n",
    ]
    for snake, name, forms, doc in rows:
        calls = tuple(", ".join(parameters) for parameters, _ in forms)
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in doc.split("\n\n"))
        listed = "(" + ", ".join(quoted(c) for c in calls) + ("," if len(calls) == 1 else "") + ")"
        out.append(f"    {quoted(snake)}: ({quoted(name)}, {listed}, {quoted(forms[0][1])}, {quoted(text)}),\n")
    return "".join([*out, "}\n"])


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def main() -> int:
    rows = all_methods()
    files = {CORE / "api.pyi": make_stub(rows), CORE / "methods.py": make_table(rows)}
    if "--check" in sys.argv:
        stale = [path.name for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        if stale:
            print(f"{', '.join(stale)}: not what pymmcore {pymmcore.__version__} says; run python tools/make_core_stub.py")
        return 1 if stale else 0
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
