"""The command line: ``aiomm acquire``, ``info``, ``repair``, ``convert``, ``doctor``."""

from __future__ import annotations

from aiomm.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the ``aiomm`` command."""
    app()
