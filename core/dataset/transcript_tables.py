"""Tables of transcripts, such as LJSpeech's `metadata.csv`: found, and a command that makes files of them.

Looked for only where recordings lack a transcript. A table counts by what is in it: its rows must name the
recordings in their first column; the second is taken for the words.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..errors import FishtuneError
from ..reading import check_regular, read_regular

_EXTENSIONS = (".csv", ".tsv", ".list")
_TEXT_NAMES = ("metadata", "transcript")  # of tables that end in .txt
_LARGEST = 64 << 20  # bytes
_AUDIO_ENDING = re.compile(r"\.(mp3|wav|flac)$", re.IGNORECASE)
# The quoting of `csv`: only commas need quotes; elsewhere they belong to the words.
_SEPARATORS: dict[str, Literal[0, 3]] = {"|": csv.QUOTE_NONE, "\t": csv.QUOTE_NONE, ",": csv.QUOTE_MINIMAL}
# For `python3 -c`, with the table as its argument.
_PROGRAM = (
    "import csv, pathlib, re, sys; table = pathlib.Path(sys.argv[1]); "
    'audio = re.compile(r"[.](mp3|wav|flac)$", re.I); '
    'rows = csv.reader(open(table, encoding="utf-8-sig", newline=""), delimiter={separator}, '
    "quoting={quoting}); "
    'words = {{"/".join(audio.sub("", row[0]).split("/")[-2:]): row[1] for row in rows if len(row) > 1}}; '
    '[text.write_text(said.strip() + "\\n", "utf-8") for path in table.parent.rglob("*") '
    "if audio.search(path.name) "
    'and (said := words.get(path.parent.name + "/" + path.stem) or words.get(path.stem)) '
    "and not (text := path.with_name(path.stem + {ending})).exists()]"
)


@dataclass(frozen=True, slots=True)
class TranscriptTable:
    """A table with the words of recordings."""

    path: Path
    separator: str
    recordings: frozenset[str]
    """`NAME` or `FOLDER/NAME`, without extension."""

    def has(self, folder: str, name: str) -> bool:
        """Return whether a row names the recording `name` in a folder of that name."""
        return name in self.recordings or f"{folder}/{name}" in self.recordings

    def command(self, text_extension: str) -> str:
        """Return a command line that writes a transcript beside every recording that lacks one."""
        program = _PROGRAM.format(
            separator=json.dumps(self.separator),
            quoting=int(_SEPARATORS[self.separator]),
            ending=json.dumps(text_extension),
        )
        return f"python3 -c {shlex.quote(program)} {shlex.quote(str(self.path))}"


def is_table_name(name: str) -> bool:
    """Return whether a file may be a table of transcripts, by its name."""
    lower = name.lower()
    return lower.endswith(_EXTENSIONS) or (lower.endswith(".txt") and lower.startswith(_TEXT_NAMES))


def read_table(path: Path) -> TranscriptTable | None:
    """Return a table of transcripts, or None where the file is none or cannot be read."""
    try:
        state = check_regular(path)
        return _read(path, state.st_size, state.st_mtime_ns)
    except FishtuneError:
        return None


@lru_cache(maxsize=16)
def _read(path: Path, size: int, modified_ns: int) -> TranscriptTable | None:  # noqa: ARG001 - part of the key
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    first = text.partition("\n")[0]
    separator = next((mark for mark in _SEPARATORS if mark in first), None)
    if separator is None:
        return None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=_SEPARATORS[separator])
    try:
        named = {_recording(row[0]) for row in rows if len(row) > 1 and row[1].strip()}
    except csv.Error:
        return None
    return TranscriptTable(path, separator, frozenset(named))


def _recording(cell: str) -> str:
    return "/".join(_AUDIO_ENDING.sub("", cell).split("/")[-2:])
