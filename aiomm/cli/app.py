"""The commands, their options and their help.

The work is in the module named like the command, imported when it is asked for: help does not wait for MMCore.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperGroup

from aiomm.cli import arguments
from aiomm.cli.exits import EPILOG, Exit, errors_as_sentences


class Sentences(TyperGroup):
    """Says what is wrong with the arguments in one line, as every other error is said."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Read the arguments, run the command, and leave with its exit code."""
        if not extra.pop("standalone_mode", True):
            return super().main(*args, **{**extra, "standalone_mode": False})
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except typer.Abort:
            code = Exit.INTERRUPTED
        except Exception as error:
            say = getattr(error, "format_message", None)  # a ClickException, wherever this version of typer keeps the class
            if say is None:
                raise
            text = " ".join(say().split()).replace("Value error, ", "")
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(say(), err=True)
            else:
                typer.echo(f"aiomm: error: {text}", err=True)
            code = getattr(error, "exit_code", Exit.USAGE)
        sys.exit(code if isinstance(code, int) else Exit.OK)


app = typer.Typer(
    name="aiomm",
    cls=Sentences,
    help="Run microscopes from asyncio: acquire images, and look at what was acquired.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"aiomm {version('aiomm')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Hold the options that stand before a command."""


@app.command(epilog=EPILOG)
def acquire(
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder for the dataset; it is made if needed.")],
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="A Micro-Manager .cfg file, or 'demo': a simulated microscope, if nothing is said.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65535, help="The server of a running Micro-Manager, in place of --config; its own is 4827."
        ),
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the dataset; its folder is OUT/NAME_1, then OUT/NAME_2.")] = "acq",
    time_points: Annotated[int, typer.Option("--time-points", "-t", metavar="N", min=1, help="Number of time points.")] = 1,
    interval: Annotated[float, typer.Option(metavar="S", min=0, help="Seconds from one time point to the next; 0: no waiting.")] = 0.0,
    z: Annotated[str | None, typer.Option("--z", "-z", metavar="START:END:STEP", help="A z stack, in µm; END is never passed.")] = None,
    channels: Annotated[
        str | None,
        typer.Option("--channels", "-c", metavar="[GROUP:]PRESET,...", help="Channels; without GROUP, of the core's channel group."),
    ] = None,
    exposure: Annotated[str | None, typer.Option(metavar="MS[,MS...]", help="Exposure in ms, for all channels or for each.")] = None,
    order: Annotated[str, typer.Option(metavar="ORDER", help="The loops, outermost first: t time, p position, c channel, z.")] = "tpcz",
    format: Annotated[Literal["ndtiff", "ome-zarr", "memory"], typer.Option(help="'memory' saves nothing but the preview.")] = "ndtiff",
    preview: Annotated[bool, typer.Option("--preview/--no-preview", help="Draw a picture of the dataset, OUT/NAME_1.png.")] = True,
    debug: Debug = False,
) -> None:
    """Acquire images with a microscope in this process, or in a running Micro-Manager, and save them.

    Ctrl-C once stops safely and keeps what is saved; twice abandons.
    """
    from aiomm.cli.acquire import Job, run

    with errors_as_sentences(debug):
        group, names = arguments.channel_names(channels) if channels is not None else (None, [])
        job = Job(
            directory=arguments.folder(out),
            name=arguments.dataset_name(name),
            where=arguments.microscope(config, port),
            time_points=time_points,
            interval=interval,
            z=arguments.z_range(z) if z is not None else None,
            channel_group=group,
            channels=names,
            exposures=arguments.exposures(exposure, names) if exposure is not None else [],
            order=order,
            format=format,
            preview=preview,
        )
        asyncio.run(run(job, Console(stderr=True)))


@app.command(epilog=EPILOG)
def info(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Folder of a dataset.")],
    debug: Debug = False,
) -> None:
    """Say what is in a dataset: axes, sizes, pixel type, channels, and whether it was finished."""
    from aiomm.cli.info import describe

    with errors_as_sentences(debug):
        typer.echo(describe(arguments.path("DATASET", dataset)))


@app.command("repair", epilog=EPILOG)
def repair_command(
    dataset: Annotated[str, typer.Argument(metavar="PATH", help="Folder of a dataset, NDTiff or OME-Zarr, that nobody writes to.")],
    apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, it is only said what would be done.")] = False,
    debug: Debug = False,
) -> None:
    """Bring back what a killed writer, a lost index or a missing file left whole in a dataset.

    Says what would be done; --apply does it. What is replaced is kept, images are never changed.
    """
    from aiomm.cli.repair import repair_dataset

    with errors_as_sentences(debug):
        text, whole = repair_dataset(arguments.path("PATH", dataset), apply)
        typer.echo(text)
    if not whole:
        raise typer.Exit(Exit.FAILED)


@app.command("convert", epilog=EPILOG)
def convert_command(
    source: Annotated[str, typer.Argument(metavar="IN", help="Folder of a dataset.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The new dataset; there must be nothing of this name.")],
    to: Annotated[
        Literal["ndtiff", "ome-zarr", "ome-tiff"] | None,
        typer.Option(help="What to make; if not given, OUT says it: .zarr, .ome.tif, otherwise NDTiff."),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything back and compare, before OUT gets its name.")] = False,
    debug: Debug = False,
) -> None:
    """Write a dataset again in another format: NDTiff, OME-Zarr or OME-TIFF.

    OUT appears when it is whole. Ctrl-C leaves nothing behind.
    """
    from aiomm.cli.convert import convert_dataset

    with errors_as_sentences(debug):
        old, new = arguments.path("IN", source), arguments.path("OUT", target)
        convert_dataset(old, new, to, verify, Console(stderr=True), typer.echo)


@app.command("doctor", epilog=EPILOG)
def doctor_command(
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Folder to measure the disk in.", file_okay=False)] = Path(),
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="The configuration to load: a .cfg file, or 'demo', if nothing is said.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=1, max=65535, help="The server of a running Micro-Manager, in place of --config.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Look for what an acquisition needs, and say what to do about what is missing."""
    from aiomm.cli.doctor import examine

    with errors_as_sentences(debug):
        healthy = examine(directory, arguments.microscope(config, port), Console(highlight=False, soft_wrap=True))
    if not healthy:
        raise typer.Exit(Exit.FAILED)
