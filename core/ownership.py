"""Which files fishtune made itself, so that nothing of anybody else's is ever replaced.

A folder that a stage makes is described in its record: every file with its size and, unless it is very
large, its hash. A single file that a command wrote to a place of the user's choice is remembered in the
user's cache folder; if that is lost, the file is treated as anybody else's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .errors import FishtuneError, StorageError
from .files import sha256, write_json
from .reading import reading, unreadable
from .tables import read_json
from .user_folders import cache_file

_HASHED: Final = 64 << 20
"""Bytes. Of a larger file only the size is held against its description."""


def describe(folder: Path, known: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of every file in `folder`, by its path in it; no hash of very large ones.

    Args:
        known: hashes that need not be computed.
    """
    described = {}
    for name in _entries(folder):
        size = (folder / name).stat().st_size
        digest = (known or {}).get(name) or (sha256(folder / name) if size <= _HASHED else "")
        described[name] = {"bytes": size, "sha256": digest}
    return described


def strangers(folder: Path, *descriptions: Any) -> list[str]:
    """Return what lies in `folder` that none of the descriptions is of: added, or changed since.

    Args:
        descriptions: of `describe`, as they were read from a record; anything else describes nothing.

    Raises:
        StorageError: a file cannot be read.
    """
    known = [description for description in descriptions if isinstance(description, dict)]
    return [
        name
        for name in _entries(folder)
        if not any(_fits(folder / name, description.get(name)) for description in known)
    ]


def _entries(folder: Path) -> list[str]:
    """Return the paths in `folder` of all that is no folder; links are not followed."""
    found = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [str((Path(place) / name).relative_to(folder)) for name in [*files, *links]]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise unreadable(Path(error.filename), error)


def _fits(file: Path, described: Any) -> bool:
    if not isinstance(described, dict):
        return False
    with reading(file):
        state = file.lstat()
        if not stat.S_ISREG(state.st_mode) or state.st_size != described.get("bytes"):
            return False
        digest = described.get("sha256")
        return not digest or sha256(file) == digest


def remember(file: Path) -> None:
    """Note that we wrote `file` as it is now; nothing happens if the note cannot be kept."""
    try:
        write_json(_note(file), _state(file))
    except (StorageError, OSError):
        return


def is_remembered(file: Path) -> bool:
    """Return whether we wrote `file`, and nobody has changed it since."""
    try:
        return bool(read_json(_note(file), 1 << 16) == _state(file))
    except (FishtuneError, OSError):
        return False


def _state(file: Path) -> dict[str, Any]:
    if not stat.S_ISREG(file.lstat().st_mode):
        return {}
    return {"path": str(file.absolute()), "bytes": file.stat().st_size, "sha256": sha256(file)}


def _note(file: Path) -> Path:
    return cache_file("written", file.absolute(), ".json")
