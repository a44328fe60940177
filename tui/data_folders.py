"""What lies in a folder that somebody names as data, and which folders stand beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.dataset.layout import scan
from ..core.errors import DataError


@dataclass(frozen=True)
class FolderLook:
    """What a folder holds."""

    has_clips: bool
    """Whether at least one recording, or its codes, has its words as SPEAKER/NAME.lab."""
    recordings: int = 0
    """That could be prepared; looked for only where there are no clips."""
    layouts: tuple[str, ...] = ()
    """How they are laid out, as far as that is known, each in words."""


def look_into(folder: Path, text_extension: str) -> FolderLook:
    """Return what lies in a folder. Reads names and tables; not for the screen's own thread.

    Raises:
        DataError: there is no such folder.
        StorageError: the system refuses to list it.
    """
    found = scan(folder, text_extension)
    if any(clip.text is not None and (clip.audio or clip.codes) for clip in found.clips):
        return FolderLook(has_clips=True)
    from ..core.stages.prepare.sources import find_sources

    try:
        sources = find_sources(folder)
    except DataError:
        return FolderLook(has_clips=False)
    return FolderLook(False, len(sources.sources), tuple(sources.layouts))


def normalise_from_to(data: Path) -> tuple[Path, Path]:
    """Return folders to normalise from and to; `data-raw` to `data` as the documentation names them."""
    raw = raw_of(data)
    if raw.is_dir() and not data.exists():
        return raw, data
    return data, data.with_name(f"{data.name}-normalised")


def raw_of(data: Path) -> Path:
    """Return where recordings lie before they are normalised into `data`."""
    return data.with_name(f"{data.name}-raw")


def existing(folder: Path) -> Path:
    """Return the nearest folder at or above `folder` that exists."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
