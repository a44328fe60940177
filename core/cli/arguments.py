"""What a command was given, looked at before it begins: paths that no file system takes end in a sentence."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..file_names import is_text, visible_name
from ..messages import Message, of_the_system

_LONGEST_NAME = 255  # bytes
_LONGEST_PATH = 4096
_RENAME = Message("Rename it, for example with convmv: convmv -f CP949 -t UTF-8 --notest NAME")


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse arguments that no path, report or settings file can carry.

    Raises:
        UsageError: an argument is not UTF-8 or has a NUL character.
    """
    for argument in arguments:
        if "\0" in argument:
            raise UsageError(
                "{argument} has a NUL character, which no name can have.",
                "Give it without that character.",
                argument=visible_name(argument),
            )
        if not is_text(argument):
            raise UsageError("{file} is not UTF-8.", _RENAME, file=visible_name(argument))


def check_working_folder() -> None:
    """Refuse a working folder that is gone, or whose name no report or settings file can carry.

    Raises:
        UsageError: that is so.
    """
    try:
        here = os.getcwd()  # noqa: PTH109 - its text is what is looked at
    except OSError as failure:
        raise UsageError(
            "The working folder cannot be used ({reason}).",
            "Change to another folder: cd",
            reason=of_the_system(failure),
        ) from failure
    if not is_text(here):
        raise UsageError(
            "The name of the working folder, {argument}, is not UTF-8.",
            "Work in another folder, or rename that one, for example with convmv: "
            "convmv -f CP949 -t UTF-8 --notest NAME",
            argument=visible_name(here),
        )


def with_checked_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that refuses paths which no file system takes before it begins.

    Raises:
        UsageError: a name in a path, or all of it, is too long.
    """

    @functools.wraps(command)
    def checked(**given: Any) -> Any:
        for value in given.values():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path):
                    _check_path(path)
        return command(**given)

    return checked


def _check_path(path: Path) -> None:
    length = max(len(os.fsencode(part)) for part in (*path.parts, "."))
    if length > _LONGEST_NAME or len(os.fsencode(path.absolute())) >= _LONGEST_PATH:
        text = str(path)
        shown = text if len(text) <= 60 else f"{text[:40]}…{text[-15:]}"
        raise UsageError(
            "{path} is longer than a path can be: {longest} bytes for each name, {most} in all.",
            "Give a shorter one.",
            path=shown,
            longest=_LONGEST_NAME,
            most=_LONGEST_PATH,
        )
