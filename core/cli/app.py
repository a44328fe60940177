"""Assembles the commands. Command modules import no torch; commands import the engine when they run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.main import get_command

from ..errors import FishtuneError, StopRequested
from . import (
    audition,
    demo,
    download,
    extract,
    gpus,
    jobs,
    loudness_norm,
    merge,
    pack,
    presets,
    project,
    running,
    synth,
    train,
    validate,
    verify,
)
from .console import err, print_error

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
start = typer.Typer(
    help="Start a stage as a job of its own: it goes on when this terminal closes.\n\n"
    "Takes what the stage's own command takes, for example: fishtune start extract data --batch-size 8",
    no_args_is_help=True,
)
app.add_typer(start, name="start", rich_help_panel="Jobs")


@start.callback()
def _start(context: typer.Context) -> None:
    token = running.detached.set(True)
    context.call_on_close(lambda: running.detached.reset(token))


def add_stage(name: str, command: Callable[..., Any]) -> None:
    """Make a stage's command known: in the foreground as `fishtune NAME`, detached as `fishtune start NAME`.

    The command runs its stage through `running.run_stage`, which knows the difference.
    """
    app.command(name, rich_help_panel="Stages")(command)
    start.command(name)(command)


add_stage("validate", validate.validate)
add_stage("loudness-norm", loudness_norm.loudness_norm)
add_stage("download", download.download)
add_stage("extract", extract.extract)
add_stage("pack", pack.pack)
add_stage("train", train.train)
add_stage("merge", merge.merge)
add_stage("synth", synth.synth)
add_stage("audition", audition.audition)
app.command("init", rich_help_panel="Project")(project.init)
app.command("run", rich_help_panel="Project")(project.run)
for job_command in (jobs.jobs, jobs.attach, jobs.stop, jobs.logs, jobs.resume):
    app.command(job_command.__name__, rich_help_panel="Jobs")(job_command)
app.command("demo", rich_help_panel="Project")(demo.demo)
app.command("gpus")(gpus.gpus)
app.command("presets")(presets.presets)
app.command("demo-checkpoint")(demo.demo_checkpoint)
app.command("verify")(verify.verify)


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
        # Standalone: typer itself explains wrong use (exit 2) and always ends with SystemExit.
        get_command(app).main(args=arguments, prog_name="fishtune")
    except FishtuneError as error:
        print_error(error)
        return error.exit_code
    except StopRequested as stop:
        err.print(f"Stopped. {stop.saved}".rstrip())
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
