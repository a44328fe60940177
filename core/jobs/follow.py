"""Reading the events of a job, while it writes them or later.

A line counts once its newline is there; what stands behind the last newline is still being written
(or was torn by the end of its writer) and is never shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import JobError
from ..events import Event, decode_event
from ..reading import open_regular

_BLOCK = 1 << 16
_MOST = 64 << 20
"""Bytes that are looked through for the end of one line: a file without lines must not fill the memory."""


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield all whole lines of a file in order, newlines included; nothing if there is no file yet."""
    file = _open(path)
    if file is None:
        return
    with file:
        while line := file.readline(_MOST):
            if line.endswith(b"\n"):
                yield line


def last_lines(path: Path, count: int) -> tuple[list[bytes], int]:
    """Return up to `count` last whole lines, newlines included, and the offset at which they end.

    Reads blocks from the end until there are enough lines.
    """
    file = _open(path)
    if file is None:
        return [], 0
    with file:
        position = size = file.seek(0, os.SEEK_END)
        blocks: list[bytes] = []
        newlines = 0
        # One newline more than lines: the one that ends the line before the first wanted.
        while position > 0 and newlines <= count and size - position < _MOST:
            begin = max(position - _BLOCK, 0)
            file.seek(begin)
            blocks.append(file.read(position - begin))
            newlines += blocks[-1].count(b"\n")
            position = begin
    content = b"".join(reversed(blocks))
    end = content.rfind(b"\n") + 1
    lines: list[bytes] = []
    stop = end
    while stop > 0 and len(lines) < count:  # nothing before the first wanted line is copied
        begin = content.rfind(b"\n", 0, stop - 1) + 1
        lines.append(content[begin:stop])
        stop = begin
    lines.reverse()
    return lines, size - len(content) + end


def _open(path: Path) -> IO[bytes] | None:
    """Open a file of a job; None if it is not there yet.

    Raises:
        JobError: it is a pipe, a device or a folder.
        StorageError: the system refused to open it.
    """
    try:
        return open_regular(path, JobError)
    except JobError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _split(content: bytes) -> list[bytes]:
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def last_events(path: Path, count: int) -> list[Event]:
    """Return the events of up to `count` last whole lines, oldest first.

    Lines of a kind that this version does not know are left out.
    """
    lines, _ = last_lines(path, count)
    return [event for event in map(decode_event, lines) if event is not None]


class LineFollower:
    """Gives the whole lines that were added to a growing file since the last look.

    Args:
        path: the file; it need not exist yet.
        last: how many of the lines that are there already are given by the first look; None = all.
    """

    def __init__(self, path: Path, last: int | None = None) -> None:
        self.path = path
        self._last = last
        self._offset = 0
        self._torn = b""

    @property
    def offset(self) -> int:
        """How far the file was read, in bytes."""
        return self._offset

    def poll(self, limit: int | None = None) -> list[bytes]:
        """Return new whole lines in order, newlines included; an empty list where nothing was added.

        A file that became shorter is read from its beginning.

        Args:
            limit: bytes to read at most, so that a long backlog comes in parts; None = all there is.
        """
        if self._last is not None:
            lines, end = last_lines(self.path, self._last)
            self._offset, self._last = end - sum(map(len, lines)), None
        file = _open(self.path)
        if file is None:
            return []
        with file:
            if file.seek(0, os.SEEK_END) < self._offset:
                self._offset, self._torn = 0, b""
            file.seek(self._offset)
            content = file.read(-1 if limit is None else limit)
        self._offset += len(content)
        whole, newline, torn = content.rpartition(b"\n")
        if not newline:
            self._torn += torn
            return []
        lines = _split(self._torn + whole + newline)
        self._torn = torn
        return lines


class EventFollower:
    """Gives the events that were added to `events.jsonl` since the last look.

    Args:
        path: the file; it need not exist yet.
        last: how many of the events that are there already are given by the first look; None = all.
    """

    def __init__(self, path: Path, last: int | None = None) -> None:
        self._lines = LineFollower(path, last)

    @property
    def offset(self) -> int:
        """How many bytes were read: whether there was anything, be it events or not."""
        return self._lines.offset

    def poll(self, limit: int | None = None) -> list[Event]:
        """Return new events in order; see `LineFollower.poll`."""
        return [event for event in map(decode_event, self._lines.poll(limit)) if event is not None]
