"""Help that fits a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

import typer

HELP_FLAGS = ["-h", "--help"]


def quiet_switches(command: Any) -> None:
    """Let the help of a command and of those below it show nothing after a switch; typer writes `<bool>`.

    Args:
        command: what `typer.main.get_command` returns.
    """
    for below in getattr(command, "commands", {}).values():
        quiet_switches(below)
    context = typer.Context(command, help_option_names=HELP_FLAGS)
    help_flag = command.get_help_option(context)
    for parameter in [*command.params, *([help_flag] if help_flag else [])]:
        if parameter.param_type_name == "option" and parameter.metavar is None and parameter.is_flag:
            parameter.metavar = ""
