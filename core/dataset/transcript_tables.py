"""Tables of transcripts, such as LJSpeech's `metadata.csv`: found and read.

A table counts by what is in it, not by its name: columns are known by their heading, or where there is none
by what stands in them. Read are

    name|words|words normalised                 LJSpeech
    path|speaker|language|words                 lists of other engines
    file_name,text (and others by heading)      `audiofolder`, Common Voice; also one JSON object per line
    NAME WORDS …                                LibriSpeech's `*.trans.txt`
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..errors import DataError, FishtuneError
from ..reading import check_regular, read_regular
from ..tables import parse_json

_EXTENSIONS = (".csv", ".tsv", ".list", ".jsonl", ".trans.txt")
_TEXT_NAMES = ("metadata", "transcript")  # of tables that end in .txt
_LARGEST = 64 << 20  # bytes
_AUDIO_ENDING = re.compile(r"\.(mp3|wav|flac)$", re.IGNORECASE)
# The quoting of `csv`: only commas need quotes; elsewhere they belong to the words.
_SEPARATORS: dict[str, Literal[0, 3]] = {"|": csv.QUOTE_NONE, "\t": csv.QUOTE_NONE, ",": csv.QUOTE_MINIMAL}


class TableKind(StrEnum):
    """Whose way of writing it is, in words."""

    LJSPEECH = "LJSpeech"
    LIST = "a list path|speaker|language|text"
    AUDIO_FOLDER = "Hugging Face audiofolder"
    COMMON_VOICE = "Common Voice"
    LIBRISPEECH = "LibriSpeech"
    OTHER = "a table of transcripts"


@dataclass(frozen=True, slots=True)
class TranscriptTable:
    """A table with the words of recordings."""

    path: Path
    kind: TableKind
    recordings: frozenset[str]
    """`NAME` or `FOLDER/NAME`, without extension."""

    def has(self, folder: str, name: str) -> bool:
        """Return whether a row names the recording `name` in a folder of that name."""
        return name in self.recordings or f"{folder}/{name}" in self.recordings


def is_table_name(name: str) -> bool:
    """Return whether a file may be a table of transcripts, by its name."""
    lower = name.lower()
    return lower.endswith(_EXTENSIONS) or (lower.endswith(".txt") and lower.startswith(_TEXT_NAMES))


def read_table(path: Path) -> TranscriptTable | None:
    """Return a table of transcripts, or None where the file is not one or cannot be read."""
    try:
        state = check_regular(path)
        return _read(path, state.st_size, state.st_mtime_ns)
    except FishtuneError:
        return None


@lru_cache(maxsize=16)
def _read(path: Path, size: int, modified_ns: int) -> TranscriptTable | None:  # noqa: ARG001 - part of the key
    table = _parse(path)
    if table is None:
        return None
    named = {_recording(row.recording) for row in table.rows}
    return TranscriptTable(path, table.kind, frozenset(named))


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says about one recording."""

    recording: str
    """As it is written there: a name or a path, with or without extension."""
    text: str
    speaker: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """What a table of transcripts says."""

    kind: TableKind
    rows: tuple[Row, ...]
    """Those that name a recording and have words for it."""


def read_rows(path: Path) -> Table:
    """Return what a table says.

    Raises:
        DataError: it is not a table of transcripts.
        StorageError: the system refused to read it.
    """
    check_regular(path)
    table = _parse(path)
    if table is None:
        raise DataError(
            "{file} is not a table of transcripts.",
            "Each line names a recording and its words, such as: name|What is said.",
            file=path,
        )
    return table


def _parse(path: Path) -> Table | None:
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if path.suffix.lower() == ".jsonl":
        return _from_json(text, path)
    first = text.partition("\n")[0]
    if path.name.lower().endswith(_LIBRISPEECH):
        cells = [line.split(maxsplit=1) for line in text.splitlines()]
        named = [{_RECORDING: row[0], _TEXT: row[1]} for row in cells if len(row) > 1]
        return Table(TableKind.LIBRISPEECH, tuple(_rows(named)))
    separator = next((mark for mark in _SEPARATORS if mark in first), None)
    if separator is None:
        return None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=_SEPARATORS[separator])
    try:
        return _from_cells(list(rows), separator)
    except csv.Error:
        return None


def _from_json(text: str, path: Path) -> Table | None:
    rows, kind = [], TableKind.OTHER
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            found = parse_json(line, str(path))
        except FishtuneError:
            return None
        if not isinstance(found, dict):
            return None
        texts = {name.lower(): value for name, value in found.items() if isinstance(value, str)}
        heading = _by_heading(list(texts))
        kind = _kind_by(heading)
        rows.append({column: texts[name] for column, name in heading.items()})
    return Table(kind, tuple(_rows(rows)))


def _from_cells(cells: list[list[str]], separator: str) -> Table:
    cells = [row for row in cells if len(row) > 1]
    if not cells:
        return Table(TableKind.OTHER, ())
    heading = _by_heading([cell.strip().lower() for cell in cells[0]])
    if _RECORDING in heading and _TEXT in heading:
        order = [cell.strip().lower() for cell in cells[0]]
        columns = {kind: order.index(name) for kind, name in heading.items()}
        cells, kind = cells[1:], _kind_by(heading)
    else:
        columns, kind = _by_content(cells), TableKind.OTHER
        if separator == "|":
            kind = TableKind.LIST if _SPEAKER in columns else TableKind.LJSPEECH
    named = [{column: row[at] for column, at in columns.items() if at < len(row)} for row in cells]
    return Table(kind, tuple(_rows(named)))


def _kind_by(heading: dict[str, str]) -> TableKind:
    """Return whose columns have this heading."""
    match heading:
        case {"recording": "file_name"}:
            return TableKind.AUDIO_FOLDER
        case {"speaker": "client_id"} | {"recording": "path", "text": "sentence"}:
            return TableKind.COMMON_VOICE
    return TableKind.OTHER


_RECORDING, _TEXT, _SPEAKER, _LANGUAGE = "recording", "text", "speaker", "language"
_HEADINGS = {
    _RECORDING: ("file_name", "audio_file", "audio_path", "audio", "path", "file", "filename", "wav", "clip"),
    _TEXT: ("text", "transcription", "transcript", "sentence", "raw_text", "normalized_text"),
    _SPEAKER: ("speaker", "speaker_name", "speaker_id", "client_id"),
    _LANGUAGE: ("language", "lang", "locale"),
}
_LIBRISPEECH = ".trans.txt"
_IS_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?|auto|all_\w+")
_MOST_LOOKED_AT = 1000
"""Rows; what a column holds shows in these."""


def _by_heading(names: list[str]) -> dict[str, str]:
    """Return the heading of each kind of column that is there."""
    found = {
        kind: next((known for known in headings if known in names), "")
        for kind, headings in _HEADINGS.items()
    }
    return {kind: name for kind, name in found.items() if name}


def _by_content(cells: list[list[str]]) -> dict[str, int]:
    """Return the column of each kind, from what stands in them; the first names the recording."""
    width = min(len(row) for row in cells)
    looked_at = cells[:_MOST_LOOKED_AT]
    columns = {_RECORDING: 0, _TEXT: 1}
    if width < 3:
        return columns
    spaces = [sum(len(row[at].split()) for row in looked_at) for at in range(width)]
    if width >= 4 and all(_IS_LANGUAGE.fullmatch(row[2].strip()) for row in looked_at):
        return {_RECORDING: 0, _SPEAKER: 1, _LANGUAGE: 2, _TEXT: 3}
    different = len({row[1] for row in looked_at})
    # A speaker is one word and comes again; LJSpeech has the words in both columns.
    if spaces[1] == len(looked_at) and different <= len(looked_at) // 2 < spaces[2]:
        return {_RECORDING: 0, _SPEAKER: 1, _TEXT: 2}
    return columns


def _rows(named: Iterable[dict[str, str]]) -> Iterator[Row]:
    for row in named:
        texts = {kind: text.strip() for kind, text in row.items()}
        if texts.get(_RECORDING) and texts.get(_TEXT):
            yield Row(texts[_RECORDING], texts[_TEXT], texts.get(_SPEAKER, ""), texts.get(_LANGUAGE, ""))


def _recording(cell: str) -> str:
    return "/".join(_AUDIO_ENDING.sub("", cell.strip()).replace("\\", "/").split("/")[-2:])
