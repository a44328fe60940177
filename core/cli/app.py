"""Assembles the commands. Command modules import no torch; commands import the engine when they run.

A command's module is imported where that command is called: all of them together take a third of a second.
"""

from __future__ import annotations

import inspect
import io
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from ..errors import UsageError
from ..messages import Message, joined
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


STAGES: Final = {
    "prepare": "prepare.prepare",
    "validate": "validate.validate",
    "loudness-norm": "loudness_norm.loudness_norm",
    "download": "download.download",
    "extract": "extract.extract",
    "pack": "pack.pack",
    "train": "train.train",
    "merge": "merge.merge",
    "synth": "synth.synth",
    "audition": "audition.audition",
    "verify": "verify.verify",
    "judge": "judge.judge",
}
"""Commands that run a stage, and where they are: module of this package and function.

Each runs in the foreground as `fishtune NAME` and detached as `fishtune start NAME`.
"""
PANELS: Final = {
    "Stages": STAGES,
    "Runs": {
        "listen": "listen.listen",
        "runs": "runs.runs",
        "checkpoints": "runs.checkpoints",
        "compare": "runs.compare_runs",
        "report": "report.report",
    },
    "Project": {"init": "project.init", "run": "project.run", "demo": "demo.demo"},
    "Jobs": {
        "jobs": "jobs.jobs",
        "attach": "jobs.attach",
        "stop": "jobs.stop",
        "logs": "jobs.logs",
        "resume": "jobs.resume",
    },
    "This machine, presets and checkpoints": {
        "doctor": "doctor.doctor",
        "gpus": "gpus.gpus",
        "estimate": "estimate.estimate",
        "presets": "presets.presets",
        "demo-checkpoint": "demo.demo_checkpoint",
    },
}
"""All commands as the help lists them."""
_START: Final = "start"


def command(arguments: Sequence[str] = ()) -> Any:
    """Return `fishtune` with all its commands, or with no other than the one that arguments begin with."""
    first, second = (*arguments, "", "")[:2]
    is_known = first == _START or any(first in places for places in PANELS.values())
    return _made(first if is_known else "", second if first == _START and second in STAGES else "")


@cache
def _made(only: str, only_stage: str) -> Any:
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
    app.callback()(_root)
    for panel, places in PANELS.items():
        _add(app, {name: place for name, place in places.items() if only in ("", name)}, panel)
    if only in ("", _START):
        start = typer.Typer(
            help="Start a stage as a job of its own: it keeps running when this terminal closes.\n\n"
            "Takes what the stage's own command takes, for example: "
            "fishtune start extract data --batch-size 8",
            no_args_is_help=True,
            cls=CommandGroup,
        )
        start.callback()(_detached)
        _add(start, {name: place for name, place in STAGES.items() if only_stage in ("", name)})
        app.add_typer(start, name=_START, rich_help_panel="Jobs")
    made = get_command(app)
    quiet_switches(made)
    return made


def _add(to: typer.Typer, places: dict[str, str], panel: str | None = None) -> None:
    for name, place in places.items():
        module, function = place.split(".")
        found = getattr(import_module(f".{module}", __package__), function)
        # The help is wrapped to the terminal; line breaks inside a paragraph are the source file's own.
        paragraphs = inspect.cleandoc(found.__doc__ or "").split("\n\n")
        about = "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
        to.command(name, help=about, rich_help_panel=panel)(with_checked_paths(found))


def _detached(context: typer.Context) -> None:
    from .running import detached

    token = detached.set(True)
    context.call_on_close(lambda: detached.reset(token))


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # takes a thirtieth of a second

        typer.echo(f"fishtune {version('fishtune')}")
        raise typer.Exit


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
    given = sys.argv[1:] if arguments is None else arguments
    try:
        check_arguments(given)
        if not {*HELP_FLAGS, "--version"}.intersection(given):
            check_working_folder()
        code = command(given).main(args=spread_lists(given), prog_name="fishtune", standalone_mode=False)
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
