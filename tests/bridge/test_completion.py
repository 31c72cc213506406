"""Completion as IPython asks for it: without a message, without a running loop."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import aiomm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.jvm.host import JavaHost


@pytest.fixture
def held(java_host: JavaHost) -> Iterator[dict[str, Any]]:
    """Proxies, in a process whose loop does not run."""
    loop = asyncio.new_event_loop()

    async def begin() -> dict[str, Any]:
        bridge = await aiomm.Bridge.open(java_host.port)
        return {
            "bridge": bridge,
            "samples": await bridge.construct_java_object("aiomm.host.Samples"),
            "fields": await bridge.construct_java_object("aiomm.host.Fields"),
            "odd": await bridge.construct_java_object("aiomm.host.Odd"),
            "maths": await bridge.get_java_class("java.lang.Math"),
            "core": await bridge.get_core(),
        }

    names = loop.run_until_complete(begin())
    yield names
    loop.run_until_complete(names["bridge"].aclose())
    loop.close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, held: dict[str, Any]) -> list[str]:
    """Collect what is asked of the server."""
    asked: list[str] = []

    async def request(port: Any, frames: Any, **more: Any) -> Any:
        asked.append(more["what"])
        raise AssertionError("a message")

    monkeypatch.setattr("aiomm.bridge.port.Port.request", request)
    return asked


def completions(names: dict[str, Any], text: str, *, jedi: bool) -> list[str]:
    shell = InteractiveShell.instance()
    completer = IPCompleter(shell=shell, namespace=names, global_namespace={})
    completer.use_jedi = jedi
    with provisionalcompleter():
        return [one.text for one in completer.completions(text, len(text))]


@pytest.mark.parametrize("jedi", [False, True])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("samples.echo_boo", {"echo_boolean", "echo_booleans"}),
        ("fields.aBo", {"aBoolean"}),
        ("maths.ma", {"max"}),
        ("core.getExp", set()),  # Java's spelling is found, and not listed beside ours
        ("core.get_exp", {"get_exposure", "get_exposure_sequence_max_length"}),
    ],
)
def test_completion_is_silent(text: str, expected: set[str], jedi: bool, held: dict[str, Any], silent: list[str]) -> None:
    found = {one.rpartition(".")[2] for one in completions(held, text, jedi=jedi)}
    assert found == expected
    assert silent == []


def test_looking_is_silent(held: dict[str, Any], silent: list[str]) -> None:
    """Each attribute, its documentation and its signature, as completers and inspectors take them."""
    for name in ("samples", "fields", "odd", "maths", "core"):
        for attribute in dir(held[name]):
            value = getattr(held[name], attribute)
            assert repr(value)
            inspect.getdoc(value)
            if inspect.isfunction(value) or inspect.ismethod(value):
                inspect.signature(value)
        for special in ("_repr_html_", "_ipython_display_", "_ipython_canary_method_should_not_exist_", "__array__", "__wrapped__"):
            assert not hasattr(held[name], special)
    assert silent == []


def test_what_is_listed(held: dict[str, Any]) -> None:
    listed = dir(held["samples"])
    assert len(listed) == len(set(listed))
    assert {"echo_int", "to_list", "call", "ANSWER"} <= set(listed)
    hidden = {"wait", "notify", "notify_all", "finalize", "clone", "register_natives", "echoInt"}
    assert not hidden & set(listed)
    _ = held["samples"].echoInt  # used once, it is still not listed twice
    assert "echoInt" not in dir(held["samples"])
    assert not [name for name in dir(held["odd"]) if "$" in name]
    assert {"in_", "from_"} <= set(dir(held["odd"]))
