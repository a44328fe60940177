"""Assembles the commands. Command modules import no torch; commands import the engine when they run."""

from __future__ import annotations

import inspect
import io
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from ..errors import UsageError
from ..messages import Message, joined
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
    prepare,
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
from .help import HELP_FLAGS, quiet_switches
from .suggestions import command_meant, option_meant


class CommandGroup(TyperGroup):
    """Commands, of which an unknown name tells what was probably meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that `args` begins with, as typer does."""
        name = args[0] if args else ""
        if not ctx.resilient_parsing and name and name[0] != "-" and name not in self.commands:
            raise UsageError(
                "There is no command {name}.",
                joined([command_meant(name, self.commands), _see_help(ctx.command_path)]),
                name=name,
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="fishtune",
    help="Fine-tune fish-speech (OpenAudio S1-mini, S2-Pro) on your own recordings.\n\n"
    "The way through: prepare, validate, loudness-norm, download, extract, pack, train, merge, synth; "
    "or all of it from a project file: fishtune run. The same with a screen: fishtune-tui.",
    no_args_is_help=True,
    cls=CommandGroup,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP_FLAGS, "max_content_width": 110},
)
start = typer.Typer(
    help="Start a stage as a job of its own: it keeps running when this terminal closes.\n\n"
    "Takes what the stage's own command takes, for example: fishtune start extract data --batch-size 8",
    no_args_is_help=True,
    cls=CommandGroup,
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


add_stage("prepare", prepare.prepare)
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


@cache
def _command() -> Any:
    """Return the whole command, made once in a process: that takes a twentieth of a second."""
    command = get_command(app)
    quiet_switches(command)
    return command


def _run(arguments: list[str] | None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    try:
        check_arguments(given)
        if not {*HELP_FLAGS, "--version"}.intersection(given):
            check_working_folder()
        code = _command().main(args=spread_lists(given), prog_name="fishtune", standalone_mode=False)
    except _WrongUse as error:
        message = _PYDANTIC_WORDS.sub("", error.format_message()).strip()
        if message:  # a command without arguments has shown its help instead
            print_error(_as_ours(error, message))
        return UsageError.exit_code
    if code == INTERRUPTED:  # what typer makes of Ctrl+C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _as_ours(error: Any, message: str) -> UsageError:
    """Return typer's error about wrong flags as one of ours."""
    where = error.ctx.command_path if error.ctx is not None else "fishtune"
    if not hasattr(error, "possibilities"):  # of options that do not exist it knows some
        return UsageError(message, _see_help(where))
    flags = [flag for part in error.ctx.command.params for flag in (*part.opts, *part.secondary_opts)]
    return UsageError(
        "{where} has no option {option}.",
        joined([option_meant(error.option_name, flags), _see_help(where)]),
        where=where,
        option=error.option_name,
    )


def _see_help(where: str) -> Message:
    return Message("See what it takes with: {where} --help", where=where)
