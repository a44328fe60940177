"""The journal that loudness normalisation keeps in its target: how far an unfinished copy has got.

One line of JSON a file, the last one of a file counts: `written` once the file is there, `failed` where the
source cannot be read. Everything else is still to be made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import MalformedFileError
from ..reading import read_regular
from ..tables import parse_json
from .clips import AUDIO_EXTENSIONS

JOURNAL_FILE = ".fishtune-loudness.jsonl"
LARGEST_JOURNAL = 1 << 28
"""Bytes; a million files take so much."""


@dataclass(frozen=True)
class Copied:
    """How far a normalisation has got."""

    recordings: int
    """Normalised recordings that are there."""
    total: int
    """Recordings that were to be normalised."""
    is_whole: bool
    """Whether nothing is left to be made, be it a recording or a transcript."""


def copied(target: Path) -> Copied | None:
    """Return how far the normalisation into a folder has got, None where there was none.

    Raises:
        StorageError: the system refused to read the journal.
    """
    journal = target / JOURNAL_FILE
    try:
        status = journal.stat()
    except OSError:
        return None
    return _read(journal, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(journal: Path, modified_ns: int, size: int) -> Copied | None:  # noqa: ARG001 - part of the key
    try:
        lines = read_regular(journal, LARGEST_JOURNAL, MalformedFileError).splitlines()
    except MalformedFileError:
        return None
    settled: dict[str, tuple[bool, bool]] = {}
    for line in lines:
        try:
            entry = parse_json(line, str(journal))
        except MalformedFileError:
            continue  # torn by a crash
        if isinstance(entry, dict) and isinstance(entry.get("file"), str):
            settled[entry["file"]] = (entry.get("written") is not None, entry.get("failed") is True)
    recordings = [
        written for name, (written, _) in settled.items() if name.lower().endswith(AUDIO_EXTENSIONS)
    ]
    return Copied(sum(recordings), len(recordings), all(map(any, settled.values())))
