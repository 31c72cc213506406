"""What must pass, and how to run it: plain ``nox`` runs all of it, the quick checks first and the tests last."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "imports", "types", "docs", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
AT_ONCE = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")
"""Files of tests side by side, each process with a JVM of its own; ``-- -n 0`` runs them one after the other."""
EVERYTHING = ".[demo,ome-tiff,preview,process,useq,xarray]"


def group(name: str) -> list[str]:
    """Return the requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely mistakes."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def imports(session: nox.Session) -> None:
    """Hold the floors: each package imports only from the packages below it."""
    session.install(*group("imports"))
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy strict inside, pyright on what users see."""
    session.install(EVERYTHING, *group("types"))
    session.run("mypy")
    session.run("python", "tools/check_public_types.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Run every code block of README and docs, every example and every notebook; those of the bridge need a JDK and Maven."""
    session.install(EVERYTHING, *group("docs"))
    session.run("pytest", "--import-mode=append", "tests/docs", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, on the installed package and real device adapters."""
    session.install(EVERYTHING, *group("test"))
    session.run("pytest", "--import-mode=append", "--ignore=tests/docs", *AT_ONCE, *session.posargs)


@nox.session(default=False)
def campaign(session: nox.Session) -> None:
    """The long runs: many hours of a microscope's life in some minutes."""
    session.install(EVERYTHING, *group("test"))
    session.run("pytest", "--import-mode=append", "-m", "campaign", "--timeout", "3600", *session.posargs)


@nox.session(default=False)
def peer_hazards(session: nox.Session) -> None:
    """What hangs or goes wrong with pycromanager, and with aiomm; ``-- --peer-python`` names an interpreter that has pycromanager."""
    session.install(EVERYTHING, *group("test"))
    session.run("python", "-m", "tests.campaigns.peer_hazards", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """aiomm and its peers in turn in one run; prints ratios."""
    session.install(EVERYTHING, *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)
