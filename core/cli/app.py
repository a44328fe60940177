"""Assembles the commands. Command modules import no torch; commands import the engine when they run."""

from __future__ import annotations

import inspect
import io
import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer
from typer.main import get_command

from ..errors import UsageError
from . import (
    audition,
    demo,
    doctor,
    download,
    estimate,
    extract,
    gpus,
    jobs,
    judge,
    listen,
    loudness_norm,
    merge,
    pack,
    presets,
    project,
    report,
    running,
    runs,
    synth,
    train,
    validate,
    verify,
)
from .arguments import check_arguments, check_working_folder, spread_lists, with_checked_paths
from .console import print_error
from .ending import INTERRUPTED, end_of
from .help import HELP_FLAGS, shorten

app = typer.Typer(
    name="fishtune",
    help="Fine-tune fish-speech (OpenAudio S1-mini) on your own recordings.\n\n"
    "The way through: validate, loudness-norm, download, extract, pack, train, merge, synth; "
    "or all of it from a project file: fishtune run. The same with a screen: fishtune-tui.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP_FLAGS, "max_content_width": 110},
)
start = typer.Typer(
    help="Start a stage as a job of its own: it keeps running when this terminal closes.\n\n"
    "Takes what the stage's own command takes, for example: fishtune start extract data --batch-size 8",
    no_args_is_help=True,
)


@start.callback()
def _start(context: typer.Context) -> None:
    token = running.detached.set(True)
    context.call_on_close(lambda: running.detached.reset(token))


def add(name: str, command: Callable[..., Any], panel: str) -> None:
    """Make a command known as `fishtune NAME`, listed in a panel of the help."""
    app.command(name, help=_unfolded(command), rich_help_panel=panel)(with_checked_paths(command))


def add_stage(name: str, command: Callable[..., Any]) -> None:
    """Make a stage's command known: in the foreground as `fishtune NAME`, detached as `fishtune start NAME`.

    The command runs its stage through `running.run_stage`, which knows the difference.
    """
    add(name, command, "Stages")
    start.command(name, help=_unfolded(command))(with_checked_paths(command))


def _unfolded(command: Callable[..., Any]) -> str:
    # The help is wrapped to the terminal; line breaks inside a paragraph are the source file's own.
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


add_stage("validate", validate.validate)
add_stage("loudness-norm", loudness_norm.loudness_norm)
add_stage("download", download.download)
add_stage("extract", extract.extract)
add_stage("pack", pack.pack)
add_stage("train", train.train)
add_stage("merge", merge.merge)
add_stage("synth", synth.synth)
add_stage("audition", audition.audition)
add_stage("verify", verify.verify)
add_stage("judge", judge.judge)
add("listen", listen.listen, "Runs")
add("init", project.init, "Project")
add("run", project.run, "Project")
add("demo", demo.demo, "Project")
app.add_typer(start, name="start", rich_help_panel="Jobs")
add("jobs", jobs.jobs, "Jobs")
add("attach", jobs.attach, "Jobs")
add("stop", jobs.stop, "Jobs")
add("logs", jobs.logs, "Jobs")
add("resume", jobs.resume, "Jobs")
add("runs", runs.runs, "Runs")
add("checkpoints", runs.checkpoints, "Runs")
add("compare", runs.compare_runs, "Runs")
add("report", report.report, "Runs")
add("doctor", doctor.doctor, "This machine, presets and checkpoints")
add("gpus", gpus.gpus, "This machine, presets and checkpoints")
add("estimate", estimate.estimate, "This machine, presets and checkpoints")
add("presets", presets.presets, "This machine, presets and checkpoints")
add("demo-checkpoint", demo.demo_checkpoint, "This machine, presets and checkpoints")


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


_WrongUse = cast("type[Any]", typer.BadParameter.__bases__[0])
"""What typer raises for wrong flags; by its version it is click's class or one of its own."""
_PYDANTIC_WORDS = re.compile(r"Value error, |, unable to parse string as .*")


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done, 1 failed or stopped, 2 wrong use, 3 ended by what nobody foresaw, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding does not have, or is no text at all, is written out.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the last net: every command ends with a sentence
        return end_of(error)
    return code


def _run(arguments: list[str] | None) -> int:
    command = get_command(app)
    shorten(command)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        check_arguments(given)
        if not {*HELP_FLAGS, "--version"}.intersection(given):
            check_working_folder()
        code = command.main(args=spread_lists(given), prog_name="fishtune", standalone_mode=False)
    except _WrongUse as error:
        message = _PYDANTIC_WORDS.sub("", error.format_message()).strip()
        if message:  # a command without arguments has shown its help instead
            where = error.ctx.command_path if error.ctx is not None else "fishtune"
            print_error(UsageError(message, "See what it takes with: {where} --help", where=where))
        return UsageError.exit_code
    if code == INTERRUPTED:  # what typer makes of Ctrl+C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0
