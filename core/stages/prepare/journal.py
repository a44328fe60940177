"""What an unfinished preparation has done, so that a killed one continues where it was.

`.fishtune-prepare.jsonl` in the data set: one line of JSON for every clip that was listened to, and one with
the names of files before they are written. Lines are appended whole; a torn one counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pydantic import BaseModel, ValidationError

from ...errors import MalformedFileError
from ...files import storage_errors
from ...judge.recognition import Heard, HeardWord
from ...reading import read_regular

JOURNAL_FILE = ".fishtune-prepare.jsonl"
_LARGEST = 1 << 30
"""Bytes; 100 hours take a tenth of it."""


class _Entry(BaseModel):
    files: list[str] = []
    """Relative to the data set, with `/`: ours from now on."""
    key: str = ""
    language: str = ""
    words: list[tuple[str, float, float, float]] = []


def key_of(*what: object) -> str:
    """Return a name for what was heard in a clip, from everything that decides it."""
    return hashlib.blake2b(json.dumps(what).encode(), digest_size=12).hexdigest()


class Journal:
    """The journal of one data set, open for writing."""

    def __init__(self, data: Path) -> None:
        self.path = data / JOURNAL_FILE
        self.files: set[str] = set()
        """Files that an unfinished run was about to write."""
        self._heard: dict[str, Heard] = {}
        for entry in _entries(self.path):
            self.files.update(entry.files)
            if entry.key:
                words = tuple(HeardWord(*word) for word in entry.words)
                self._heard[entry.key] = Heard(words, entry.language)
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._log = self.path.open("ab", buffering=0)
            if self._log.tell():
                self._log.write(b"\n")  # what was torn stays a line of its own
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._log is not None
        self._log.close()

    def heard(self, key: str) -> Heard | None:
        """Return what was heard in a clip, None where nothing has listened to it yet."""
        return self._heard.get(key)

    def remember(self, key: str, heard: Heard) -> None:
        """Note what was heard in a clip."""
        self._heard[key] = heard
        words = [(word.text, word.start, word.end, word.probability) for word in heard.words]
        self._write(_Entry(key=key, language=heard.language, words=words))

    def announce(self, files: Iterable[str]) -> None:
        """Note that these files are about to be written."""
        names = sorted(set(files) - self.files)
        if names:
            self.files.update(names)
            self._write(_Entry(files=names))

    def _write(self, entry: _Entry) -> None:
        assert self._log is not None
        with storage_errors(self.path):
            self._log.write(entry.model_dump_json(exclude_defaults=True).encode() + b"\n")


def _entries(path: Path) -> Iterable[_Entry]:
    try:
        lines = read_regular(path, _LARGEST, MalformedFileError).splitlines()
    except MalformedFileError:
        return
    for line in lines:
        try:
            yield _Entry.model_validate_json(line)
        except ValidationError:
            continue  # torn by a crash
