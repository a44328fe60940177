"""Completion of paths."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from textual.suggester import Suggester

_BEFORE_ANOTHER = re.compile(r"^.*/(?=/|~(?:/|$))", re.DOTALL)


class FolderSuggester(Suggester):
    """Completes paths with the folders on the disk."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        return await asyncio.to_thread(complete_folder, value)


def expanded(written: str) -> Path:
    """Return a path with a home folder in place of its `~`; as it is where nobody has that name."""
    path = Path(written)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def begun_anew(written: str) -> str:
    """Return the path that begins last in a text: a whole one typed behind a proposal counts alone.

    `/home/me//data` is `/data`, and `/home/me/~/data` is `~/data`, as in file dialogs of editors.
    """
    return _BEFORE_ANOTHER.sub("", written)


def complete_folder(value: str) -> str | None:
    """Return `value` completed to the first folder that begins like it, None where there is none."""
    if not value:
        return None
    parent, begun = os.path.split(value)
    try:
        with os.scandir(expanded(parent or ".")) as entries:
            names = sorted(entry.name for entry in entries if entry.name.startswith(begun) and entry.is_dir())
    except (OSError, ValueError):
        return None
    names = [name for name in names if not name.startswith(".") or begun.startswith(".")]
    return os.path.join(parent, names[0]) if names and names[0] != begun else None  # noqa: PTH118
