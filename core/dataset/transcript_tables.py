"""Tables of transcripts, such as LJSpeech's `metadata.csv`: found, read, and made files of by a command.

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
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..errors import DataError, FishtuneError
from ..reading import check_regular, read_regular
from ..tables import parse_json

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
    return TranscriptTable(path, table.separator, frozenset(named))


@dataclass(frozen=True, slots=True)
class Row:
    """What a table says about one recording."""

    recording: str
    """As it is written there: a name or a path, with or without extension."""
    text: str
    speaker: str = ""
    language: str = ""


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a table that name a recording and have words for it.

    Raises:
        DataError: it is not a table of transcripts.
        StorageError: the system refused to read it.
    """
    check_regular(path)
    table = _parse(path)
    if table is None:
        raise DataError(
            f"{path} is not a table of transcripts.",
            "Each line names a recording and its words, such as `name|What is said.`",
        )
    return list(table.rows)


@dataclass(frozen=True, slots=True)
class _Parsed:
    separator: str
    rows: tuple[Row, ...]


def _parse(path: Path) -> _Parsed | None:
    try:
        text = read_regular(path, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if path.suffix.lower() == ".jsonl":
        return _from_json(text, path)
    first = text.partition("\n")[0]
    if path.name.lower().endswith(_LIBRISPEECH):
        cells = [line.split(maxsplit=1) for line in text.splitlines()]
        return _from_cells(cells, " ")
    separator = next((mark for mark in _SEPARATORS if mark in first), None)
    if separator is None:
        return None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=_SEPARATORS[separator])
    try:
        return _from_cells(list(rows), separator)
    except csv.Error:
        return None


def _from_json(text: str, path: Path) -> _Parsed | None:
    rows = []
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            found = parse_json(line, str(path))
        except FishtuneError:
            return None
        if not isinstance(found, dict):
            return None
        texts = {name.lower(): value for name, value in found.items() if isinstance(value, str)}
        rows.append({kind: texts.get(name, "") for kind, name in _by_heading(list(texts)).items()})
    return _Parsed("", tuple(_rows(rows)))


def _from_cells(cells: list[list[str]], separator: str) -> _Parsed:
    cells = [row for row in cells if len(row) > 1]
    if not cells:
        return _Parsed(separator, ())
    heading = _by_heading([cell.strip().lower() for cell in cells[0]])
    if _RECORDING in heading and _TEXT in heading:
        order = [cell.strip().lower() for cell in cells[0]]
        columns = {kind: order.index(name) for kind, name in heading.items()}
        cells = cells[1:]
    else:
        columns = _by_content(cells)
    named = [{kind: row[at] for kind, at in columns.items() if at < len(row)} for row in cells]
    return _Parsed(separator, tuple(_rows(named)))


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
