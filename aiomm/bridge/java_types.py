"""Java's types by name: what fits in them, which numpy dtype their arrays have, how a reader writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ARRAYS",
    "BOXES",
    "DESCRIPTORS",
    "FLOATS",
    "INTEGERS",
    "LANG",
    "PRIMITIVES",
    "SUPERTYPES",
    "array_element",
    "assignable",
    "canonical",
    "notation",
    "short",
    "unboxed",
]

LANG: Final = "java.lang."

INTEGERS: Final = {"byte": 8, "short": 16, "int": 32, "long": 64}
"""Signed integer types and their bits."""

FLOATS: Final = {"float": 32, "double": 64}

BOXES: Final = {
    "boolean": "java.lang.Boolean",
    "byte": "java.lang.Byte",
    "char": "java.lang.Character",
    "short": "java.lang.Short",
    "int": "java.lang.Integer",
    "long": "java.lang.Long",
    "float": "java.lang.Float",
    "double": "java.lang.Double",
}

PRIMITIVES: Final = frozenset(BOXES)

ARRAYS: Final[dict[str, np.dtype[Any]]] = {
    "byte[]": np.dtype(np.int8),
    "short[]": np.dtype(np.int16),
    "char[]": np.dtype(np.uint16),
    "int[]": np.dtype(np.int32),
    "long[]": np.dtype(np.int64),
    "float[]": np.dtype(np.float32),
    "double[]": np.dtype(np.float64),
}
"""Arrays that can be sent as binary data. A ``boolean[]`` cannot: it has to be made in Java."""

_UNBOXED: Final = {box: primitive for primitive, box in BOXES.items()}
DESCRIPTORS: Final = {"Z": "boolean", "B": "byte", "C": "char", "S": "short", "I": "int", "J": "long", "F": "float", "D": "double"}
_COMMON: Final = {"java.io.Serializable", "java.lang.Comparable", "java.lang.Object"}
_CONSTANT: Final = {"java.lang.constant.Constable", "java.lang.constant.ConstantDesc"}

SUPERTYPES: Final = {
    "java.lang.String": _COMMON | _CONSTANT | {"java.lang.CharSequence"},
    "java.lang.Boolean": _COMMON | {"java.lang.constant.Constable"},
    "java.lang.Character": _COMMON | {"java.lang.constant.Constable"},
    "java.lang.Byte": _COMMON | {"java.lang.Number", "java.lang.constant.Constable"},
    "java.lang.Short": _COMMON | {"java.lang.Number", "java.lang.constant.Constable"},
    "java.lang.Integer": _COMMON | _CONSTANT | {"java.lang.Number"},
    "java.lang.Long": _COMMON | _CONSTANT | {"java.lang.Number"},
    "java.lang.Float": _COMMON | _CONSTANT | {"java.lang.Number"},
    "java.lang.Double": _COMMON | _CONSTANT | {"java.lang.Number"},
}
"""What strings and boxes are besides themselves."""

_ARRAY_SUPERTYPES: Final = frozenset({"java.lang.Object", "java.lang.Cloneable", "java.io.Serializable"})


def unboxed(java_type: str) -> str:
    """``java.lang.Integer`` -> ``int``; any other name unchanged."""
    return _UNBOXED.get(java_type, java_type)


def canonical(java_type: str) -> str:
    """One spelling of a type: ``[Ljava.util.Map$Entry;`` -> ``java.util.Map.Entry[]``.

    The server writes nested classes and arrays one way in constructors, another in methods, a third in the class of an object.
    """
    dimensions = 0
    while java_type.startswith("["):
        java_type = java_type[1:]
        dimensions += 1
    if dimensions:
        java_type = java_type[1:-1] if java_type.startswith("L") else DESCRIPTORS.get(java_type, java_type)
    return java_type.replace("$", ".") + "[]" * dimensions


def array_element(java_type: str) -> str | None:
    """``double[]`` -> ``double``; None for what is no array."""
    return java_type[:-2] if java_type.endswith("[]") else None


def assignable(target: str, source: str, supertypes: Sequence[str] = ()) -> bool:
    """Whether Java could assign a `source`, which is also a `supertypes`, to a `target` without any conversion.

    Parameters
    ----------
    target, source : str
        Java types in any spelling.
    supertypes : sequence of str
        What a class is besides itself, as the server lists it; known here for strings and boxes.
    """
    target, source = canonical(target), canonical(source)
    if target == source:
        return True
    if source in PRIMITIVES or target in PRIMITIVES:
        return False
    element = array_element(source)
    if element is not None:
        if target in _ARRAY_SUPERTYPES:
            return True
        wanted = array_element(target)
        return wanted is not None and assignable(wanted, element)
    if target == "java.lang.Object" or target in SUPERTYPES.get(source, ()):
        return True
    return any(canonical(name) == target for name in supertypes)


def short(java_type: str) -> str:
    """``java.lang.String[]`` -> ``String[]``: without its package."""
    return canonical(java_type).rpartition(".")[2]


def notation(name: str, arguments: Sequence[str]) -> str:
    """A method as Java's readers write it: ``setXYPosition(String, double, double)``."""
    return f"{name}({', '.join(map(short, arguments))})"
