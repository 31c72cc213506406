"""What the pages show works: their Python blocks and aiomm commands run in order, and so do the examples and notebooks."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.jvm.host import JavaHost

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted([*(ROOT / "examples").glob("*.ipynb"), *(ROOT / "docs").rglob("*.ipynb")])
PORT = re.compile(r"\b4827\b")
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """Return the language, text and first line of each fenced block."""
    text = page.read_text(encoding="utf-8")
    return [(match[1], match[2], text.count("\n", 0, match.start()) + 2) for match in FENCE.finditer(text)]


def with_a_server(text: str, request: pytest.FixtureRequest) -> str:
    """Code that names Micro-Manager's port speaks with the tests' Java host; its port, a free one, takes the place of the usual one."""
    if PORT.search(text) is None:
        return text
    host: JavaHost = request.getfixturevalue("java_host")
    return PORT.sub(str(host.port), text)


def run(*command: str, cwd: Path) -> str:
    """Run a command; its output is the message if it fails."""
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=150)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.blocks  # pages call Dataset's synchronous functions where a script would
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
async def test_what_the_page_shows_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for language, shown, line in blocks(page):
        text = with_a_server(shown, request) if language in {"python", "sh"} else shown
        if language == "python" and "asyncio.run(" in text:  # a script: it has its own loop
            script = tmp_path / f"script_{line}.py"
            script.write_text(text, encoding="utf-8")
            run(sys.executable, str(script), cwd=tmp_path)
        elif language == "python":
            tree = ast.parse("\n" * (line - 1) + text, str(page))
            code = compile(tree, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
        elif language == "sh":  # commands of aiomm alone; `bash` is for what sets a machine up
            for command in text.strip().splitlines():
                program, *arguments = command.split()
                assert program == "aiomm", f"{page}:{line}: {command!r}: an sh block holds aiomm commands only"
                run(sys.executable, "-c", "from aiomm.cli import main; main()", *arguments, cwd=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.timeout(200)
@pytest.mark.parametrize("example", SCRIPTS, ids=lambda path: path.name)
def test_the_example_runs(example: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    copy = tmp_path / example.name
    copy.write_text(with_a_server(example.read_text(encoding="utf-8"), request), encoding="utf-8")
    run(sys.executable, "-W", "error", str(copy), cwd=tmp_path)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_runs(notebook: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    copy = tmp_path / notebook.name
    copy.write_text(with_a_server(notebook.read_text(encoding="utf-8"), request), encoding="utf-8")
    run(sys.executable, "-c", "from nbclient.cli import main; main()", str(copy), "--timeout=120", "--kernel_name=python3", cwd=tmp_path)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_output(notebook: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    commands = [line for language, text, _ in blocks(ROOT / "README.md") if language == "bash" for line in text.splitlines()]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in script if line.startswith("python3")] == [line for line in commands if "nox" in line]
