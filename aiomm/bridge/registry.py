"""Which proxy class is used for the objects of which Java class."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiomm.bridge.proxy import JavaObject

__all__ = ["proxy_class", "register_proxy"]

_CLASSES: dict[str, type[JavaObject]] = {}


def register_proxy(java_class: str, cls: type[JavaObject]) -> None:
    """Use a class of your own for the objects of a Java class or interface, and of what extends or implements it.

    It applies to bridges that see that class for the first time after this; a Java class that is nearer to the object's own comes first.

    Parameters
    ----------
    java_class : str
        The full name (``mmcorej.CMMCore``).
    cls : type
        A subclass of `JavaObject`. Its own attributes come before Java's methods and fields of the same names.
    """
    _CLASSES[java_class] = cls


def proxy_class(names: Iterable[str], default: type[JavaObject]) -> type[JavaObject]:
    """Find the class for an object with these classes and interfaces, its own first."""
    return next((_CLASSES[name] for name in names if name in _CLASSES), default)
