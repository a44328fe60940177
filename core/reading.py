"""Files that are read with care: what a user's file may hold, and what the system may refuse.

Reading tells two things apart. What is wrong with a file's *content* (missing, damaged, not a regular file)
is an error of the caller's kind, by which a stage may leave one clip out. What the *system* refuses (an
input/output error, no rights, too many open files, no memory) is a `StorageError`, which ends the stage.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .errors import DataError, FishtuneError, StopRequested, StorageError
from .messages import Message, of_the_system

StrPath = str | Path
"""Where a file lies; as a text where so many are read that making a `Path` of each would take long."""
_NOT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_BLOCK = 1 << 20  # bytes
_LARGE_BLOCK = 1 << 23
"""Bytes. A thread that reads or hashes waits after each piece for whatever else computes in Python."""
_KINDS_OF_ENTRY = (
    (stat.S_ISDIR, Message("a folder")),
    (stat.S_ISFIFO, Message("a named pipe")),
    (stat.S_ISSOCK, Message("a socket")),
    (stat.S_ISCHR, Message("a device")),
    (stat.S_ISBLK, Message("a device")),
)


class reading:  # noqa: N801 - used like a function; a generator would cost a third of reading a small file
    """Turn whatever a library raises while it reads the user's file `path` into an error that can be met.

    Our own errors, and a stop that was asked for, pass unchanged. Wrap only what reads the file, never our
    own logic: a fault there is a bug and must stay one.

    Args:
        kind: what is raised where the file's content or name is at fault.
        hint: what to do about damaged content.

    Raises:
        StorageError: the system refused to read; it says nothing about the content.
    """

    __slots__ = ("_hint", "_kind", "_path")

    def __init__(self, path: StrPath, kind: type[FishtuneError] = DataError, hint: str = "") -> None:
        self._path, self._kind, self._hint = path, kind, hint

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, FishtuneError | StopRequested):
            self._raise(error)

    def _raise(self, error: BaseException) -> None:
        match error:
            case OSError():
                if (what := _about_the_name(self._path, error)) is not None:
                    raise self._kind(what, self._hint) from error
                raise unreadable(self._path, error) from error
            case MemoryError():
                raise StorageError(
                    "There is not enough memory to read {file}.",
                    "Close other programs and run the command again.",
                    file=self._path,
                ) from error
            case Exception():
                raise _damaged(self._path, self._kind, self._hint) from error
        if type(error).__name__ == "PanicException":  # libraries written in Rust
            raise _damaged(self._path, self._kind, self._hint) from error


def _about_the_name(path: StrPath, error: OSError) -> Message | None:
    """Return what is wrong with where a path leads, or None where the error is not about that."""
    match error.errno:
        case errno.ENOENT:
            return Message("{file} does not exist.", file=path)
        case errno.ENOTDIR:
            return Message("{file} does not exist: a file is in the place of its folder.", file=path)
        case errno.EISDIR:
            return Message("{file} is a folder, not a file.", file=path)
        case errno.ELOOP:
            return Message("{file} is a link that leads to itself.", file=path)
        case errno.ENAMETOOLONG:
            return Message("{file} has a name that is too long for this file system.", file=path)
    return None


def _damaged(path: StrPath, kind: type[FishtuneError], hint: str) -> FishtuneError:
    return kind(
        "{file} is damaged or not what it should be.",
        hint or Message("Copy it again from where it came, or remove it."),
        file=path,
    )


def unreadable(path: StrPath, error: OSError) -> StorageError:
    """Return the error for a file that the system refuses to read, whatever its content is."""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return StorageError(
                "{file} cannot be read: no permission.",
                "Change its permissions: chmod u+r '{file}'",
                file=path,
            )
        case errno.EMFILE | errno.ENFILE:
            return StorageError(
                "{file} cannot be read: too many files are open.",
                "Raise the limit: ulimit -n 4096",
                file=path,
            )
        case errno.ENOMEM:
            return StorageError(
                "{file} cannot be read: there is not enough memory.",
                "Close other programs and run the command again.",
                file=path,
            )
    return StorageError(
        "{file} cannot be read: {reason}.",
        "Check the disk or the network share it lies on, and run the command again.",
        file=path,
        reason=of_the_system(error) or error,
    )


def open_regular(path: StrPath, kind: type[FishtuneError] = DataError, hint: str = "") -> IO[bytes]:
    """Open a regular file for reading; a pipe, socket, device or folder is refused before it is opened.

    Opening a pipe would wait for ever, and a device may do anything.

    Args:
        hint: what to do where there is no such file.

    Raises:
        kind: there is no such file, or it is not a regular one.
        StorageError: the system refused to open it.
    """
    with reading(path, kind, hint):
        descriptor, _ = _open(path, kind)
    try:
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _open(path: StrPath, kind: type[FishtuneError], status: os.stat_result | None = None) -> tuple[int, int]:
    """Return a descriptor of a regular file, and its size in bytes.

    Args:
        status: of the file a moment ago, where it is known.

    Raises:
        kind: it is not a regular file.
        OSError: there is no such file, or the system refused to open it.
    """
    status = status or os.stat(path)  # noqa: PTH116 - packing opens 40,000 files a second
    _check_mode(path, status.st_mode, kind)
    # Without O_NONBLOCK, a pipe that took the file's place since would be waited for.
    descriptor = os.open(path, os.O_RDONLY | _NOT_WAITING)
    try:
        found = os.fstat(descriptor)
        _check_mode(path, found.st_mode, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found.st_size


def check_regular(path: Path, kind: type[FishtuneError] = DataError, hint: str = "") -> os.stat_result:
    """Return the file's `stat`; refuse what is not a regular file (links are followed).

    Raises:
        kind: there is no such file, or it is not a regular one.
        StorageError: the system refused to look.
    """
    with reading(path, kind, hint):
        found = path.stat()
        _check_mode(path, found.st_mode, kind)
        return found


def _check_mode(path: StrPath, mode: int, kind: type[FishtuneError]) -> None:
    if stat.S_ISREG(mode):
        return
    what = next((name for test, name in _KINDS_OF_ENTRY if test(mode)), Message("something else"))
    raise kind("{file} is {what}, not a file.", "Rename or remove it.", file=path, what=what)


def read_regular(
    path: StrPath, limit: int, kind: type[FishtuneError] = DataError, status: os.stat_result | None = None
) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Args:
        status: of the file a moment ago, where it is known.

    Raises:
        kind: there is no such file, it is not a regular one, or it is larger.
        StorageError: the system refused to read it.
    """
    content = read_beginning(path, limit + 1, kind, status)
    if len(content) > limit:
        raise kind(
            "{file} is larger than such a file can be ({limit:,} bytes).",
            "It may be damaged: replace it.",
            file=path,
            limit=limit,
        )
    return content


def read_beginning(
    path: StrPath, count: int, kind: type[FishtuneError] = DataError, status: os.stat_result | None = None
) -> bytes:
    """Return the first `count` bytes of a regular file, or all of a shorter one.

    Args:
        status: of the file a moment ago, where it is known.

    Raises:
        kind: there is no such file, or it is not a regular one.
        StorageError: the system refused to read it.
    """
    with reading(path, kind):
        descriptor, size = _open(path, kind, status)
        try:
            # Never asked for `count` itself: the room for it is taken before a byte is read.
            content = os.read(descriptor, min(size + 1, count))
            if len(content) == min(size, count):
                return content
            parts = [content]  # it grows, does not tell its size, or came in part
            left = count - len(content)
            while left and (part := os.read(descriptor, min(left, _BLOCK))):
                parts.append(part)
                left -= len(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)


def blocks(file: IO[bytes]) -> Iterator[memoryview]:
    """Yield what is left of an open file in pieces of a few megabytes, each until the next is asked for.

    All lie in the same memory: taking new memory for each costs as much as reading it does.
    """
    block = memoryview(bytearray(_LARGE_BLOCK))
    while count := file.readinto(block):  # type: ignore[attr-defined]
        yield block[:count]


_SYSTEM = (re.compile(r": [^:(]+ \((\d+)\)"), re.compile(r"\(os error (\d+)\)|\bcode: (\d+),"))
"""How libraries word an error of the system: "…: Cannot allocate memory (12)" torch's own code,
"No space left on device (os error 28)" or "Os { code: 28, …" those in Rust."""


def system_error(error: Exception) -> OSError | None:
    """Return the error of the system that a library's own error tells of, if it does."""
    for wording in _SYSTEM:
        if (found := wording.search(str(error))) is not None:
            number = int(next(group for group in found.groups() if group))
            return OSError(number, os.strerror(number))
    return None
