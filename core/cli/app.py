"""Assembles the commands. Command modules import no torch; commands import the engine when they run."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import click
import typer
from typer.main import get_command

from ..errors import FishtuneError, StopRequested
from . import gpus, presets
from .console import print_error

app = typer.Typer(
    name="fishtune",
    help="Fine-tune fish-speech (OpenAudio S1-mini) on your own recordings.\n\n"
    "The way through: validate, loudness-norm, download, extract, pack, train, merge, synth; "
    "or all of it from a project file: fishtune run. The same with a screen: fishtune-tui.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("gpus")(gpus.gpus)
app.command("presets")(presets.presets)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fishtune {version('fishtune')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed or stopped, 2 wrong use."""
    try:
        code = get_command(app).main(args=arguments, prog_name="fishtune", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except FishtuneError as error:
        print_error(error)
        return error.exit_code
    except StopRequested as stop:
        print(f"Stopped. {stop.saved}".rstrip(), file=sys.stderr)  # noqa: T201
        return 1
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)  # noqa: T201
        return 1
