"""Help that fits a terminal of 80 columns: short words for what a flag takes, none for switches."""

from __future__ import annotations

from typing import Any

import typer

_WORDS = {"int": "N", "int range": "N", "float": "X", "float range": "X", "path": "PATH", "str": "TEXT"}
HELP_FLAGS = ["-h", "--help"]
_LONGEST_CHOICE = 20


def shorten(command: Any) -> None:
    """Give the flags of a command, and of those below it, a short word for what they take; switches none.

    Typer writes `<int range> [x>=1]` and `<bool>`, and then has no room for names and texts.

    Args:
        command: what `typer.main.get_command` returns.
    """
    for below in getattr(command, "commands", {}).values():
        shorten(below)
    context = typer.Context(command, help_option_names=HELP_FLAGS)
    help_flag = command.get_help_option(context)
    for parameter in [*command.params, *([help_flag] if help_flag else [])]:
        if parameter.param_type_name == "option" and parameter.metavar is None:
            parameter.metavar = "" if parameter.is_flag else _word(parameter.display_type(context) or "")


def _word(kind: str) -> str:
    kind = kind.strip("<>").removeprefix("list[").removesuffix("]")
    if "|" in kind:
        return kind if len(kind) <= _LONGEST_CHOICE else "NAME"
    return _WORDS.get(kind, "TEXT")
