"""What the methods and fields of one Java class are called in Python, read from the server's description of it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from aiomm.bridge.java_types import canonical
from aiomm.bridge.names import did_you_mean, python_name, snake_case
from aiomm.bridge.reflection import not_found
from aiomm.bridge.wire import Signature
from aiomm.errors import JavaException, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiomm.bridge.wire import Shadow

__all__ = ["Members", "check_entry", "describe", "python_signature"]

# java.lang.Object's own, which mean nothing across a wire; a class's own overloads of them are shown.
_OBJECTS_OWN = {
    ("clone", ()),
    ("finalize", ()),
    ("notify", ()),
    ("notifyAll", ()),
    ("registerNatives", ()),
    ("wait", ()),
    ("wait", ("long",)),
    ("wait", ("long", "int")),
    ("wait0", ("long",)),
}


class Members:
    """The names of one Java class; made once per class and bridge, its signatures when they are asked for.

    Parameters
    ----------
    shadow : Shadow
        An object of the class, as the server sent it.
    snake : bool
        Whether names are found and listed in snake_case; as Java spells them they are found always.

    Attributes
    ----------
    public : frozenset or None
        Names and arguments of the methods that are public, from `reflection.public_methods`; None until somebody has to know: the server
        lists all.
    """

    def __init__(self, shadow: Shadow, *, snake: bool) -> None:
        self.is_class = shadow.java_class == "java.lang.Class"
        self.java_class = shadow.interfaces[-1] if self.is_class and shadow.interfaces else shadow.java_class
        self.interfaces = shadow.interfaces
        self.fields = frozenset(shadow.fields)
        self.field_types: dict[str, str] = {}
        self.snake = snake
        self.public: frozenset[tuple[str, tuple[str, ...]]] | None = None
        self._api: dict[str, list[dict[str, Any]]] = {}
        for entry in shadow.api:
            check_entry(entry)
            self._api.setdefault(entry["name"], []).append(entry)
        self._spellings: dict[str, list[str]] = {}
        for name in self._api:
            for spelling in {snake_case(name), python_name(snake_case(name)), python_name(name)} if snake else {python_name(name)}:
                self._spellings.setdefault(spelling, []).append(name)
        self._field_spellings = {s: f for f in shadow.fields for s in (python_name(f), *([snake_case(f)] if snake else []))}
        self._signatures: dict[str, tuple[Signature, ...]] = {}

    def method(self, name: str) -> tuple[Signature, ...]:
        """Give the signatures that a Python name stands for, those of Java's very name first; none if it is no method.

        Raises
        ------
        TypeError
            The name is no str.
        """
        _check_name(name)
        names = [*([name] if name in self._api else []), *(n for n in self._spellings.get(name, ()) if n != name)]
        found: dict[object, Signature] = {}
        for java_name in names:
            for one in self.signatures(java_name):
                # Java's own spelling decides between two methods that differ in spelling alone.
                found.setdefault(one.arguments if names[0] == name else (java_name, one.arguments), one)
        return tuple(found.values())

    def signatures(self, java_name: str) -> tuple[Signature, ...]:
        """Give the overloads of a method by its name in Java; none if there is no such method."""
        known = self._signatures.get(java_name)
        if known is None:
            overloads: dict[tuple[str, ...], Signature] = {}
            for entry in self._api.get(java_name, ()):
                one = Signature(java_name, tuple(entry["arguments"]), entry.get("return-type"))
                before = overloads.get(one.arguments)
                # The class's own declaration comes first; a compiler's bridge method may stand before it.
                if before is None or before.returns == "java.lang.Object":
                    overloads[one.arguments] = one
            known = self._signatures[java_name] = tuple(overloads.values())
        return known

    def is_public(self, signature: Signature) -> bool | None:
        """Whether a method is public; None if that is not known."""
        if self.public is None:
            return None
        return (signature.name, tuple(map(canonical, signature.arguments))) in self.public

    def field(self, name: str) -> str | None:
        """Give the Java name of a field, or None; TypeError if the name is no str.

        Of a class's static fields the server says nothing: a name in capitals is taken for a constant.
        """
        _check_name(name)
        if self.is_class and name.isupper() and not name.startswith("_"):
            return name
        return name if name in self.fields else self._field_spellings.get(name)

    def listed(self) -> list[str]:
        """Give the names that completion shows: methods in one spelling, fields as Java has them."""
        shown = {python_name(snake_case(n) if self.snake else n) for n, entries in self._api.items() if not _hidden(n, entries)}
        return sorted(shown | {python_name(f) for f in self.fields})

    def unknown(self, name: str) -> str:
        """Say that there is no such method or field, and what was probably meant."""
        what = f"Java class {self.java_class} has no method or field {name!r}"
        names = self.listed()
        if not self.snake and (java := next((n for n in self._api if snake_case(n) == name), None)):
            return f"{what}; names are Java's here (convert_camel_case=False), it is {java!r}"
        what += did_you_mean(name, {*names, *self._field_spellings})
        if not self.is_class:
            return what
        return (
            f"{what}{'' if what.endswith('?') else '.'} A static field that is not all capitals is read with: await cls.get_field({name!r})"
        )

    def explained(self, error: JavaException, signature: Signature) -> JavaException:
        """Say what is wrong with a method that cannot be called so; Java's own words do not."""
        if self.is_class and "object is not an instance of declaring class" in error.java_message:
            text = f"{self.java_class}.{signature} is not static: call it on an object of that class"
        elif not self.is_public(signature) and not_found(error):
            text = f"the server finds no public method {self.java_class}.{signature}: others are listed too, but cannot be called"
        else:
            return error
        return JavaException(error.java_class, text, error.java_stack)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a method or field is asked for by its name, a str, not {name!r}")


def check_entry(entry: Any) -> None:
    """See that the description of a method or constructor is one.

    Raises
    ------
    ProtocolError
        It is none.
    """
    arguments = entry.get("arguments") if isinstance(entry, dict) else None
    if (
        not isinstance(arguments, list)
        or not all(isinstance(one, str) for one in arguments)
        or not isinstance(entry.get("name"), str)
        or not isinstance(entry.get("return-type", ""), str)
    ):
        raise ProtocolError(f"the description of a method that is none: {str(entry)[:100]!r}")


def _hidden(name: str, entries: Iterable[dict[str, Any]]) -> bool:
    """Whether completion leaves a method out: the compiler's (``lambda$0``, ``access$000``), and what means nothing across a wire."""
    return "$" in name or all((name, tuple(entry["arguments"])) in _OBJECTS_OWN for entry in entries)


def describe(java_class: str, signatures: Sequence[Signature]) -> str:
    """Write the docstring of a method: its Java declarations."""
    lines = [f"{java_class}.{one.name}({', '.join(one.arguments)}) -> {one.returns}" for one in signatures]
    return "\n".join([*lines, "", "A method of a Java object: await it."])


def python_signature(signatures: Sequence[Signature]) -> inspect.Signature:
    """Give what `inspect.signature` shows: Java's types as annotations; of overloads, each parameter's types."""
    counts = [len(one.arguments) for one in signatures]
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    for index in range(max(counts, default=0)):
        types = dict.fromkeys(one.arguments[index] for one in signatures if index < len(one.arguments))
        # A parameter that some overload lacks may be left out.
        default = inspect.Parameter.empty if index < min(counts) else ...
        parameters.append(
            inspect.Parameter(f"arg{index}", inspect.Parameter.POSITIONAL_ONLY, annotation=" | ".join(types), default=default)
        )
    returns = dict.fromkeys(one.returns or "void" for one in signatures)
    return inspect.Signature(parameters, return_annotation=" | ".join(returns))
