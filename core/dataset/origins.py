"""What the codes of a speaker's folder were made from, so that no clock and no copy makes them stale.

`.fishtune-codes` lies beside the recordings and goes with them to another machine. Every line is about one
code file: a hash of its name, a checksum of the line, and a JSON list of what the recording was (size, times,
a digest of its content), a digest of the codes, and which codec made them. Lines are only ever appended, with
one write each, by any number of processes; the last one of a name counts, and a torn one for nothing.
A line follows its code file: a process that is killed in between leaves codes without a line, never the
reverse. Codes without a line (of another tool, or made before there were lines) are judged by their time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import time
import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import DataError, MalformedFileError, StorageError
from ..files import size_and_time, storage_errors, write_bytes
from ..reading import StrPath, open_regular, read_regular, reading, unreadable
from ..tables import parse_json
from .clips import Scan

RECORD_FILE: Final = ".fishtune-codes"
_LARGEST: Final = 256 << 20  # bytes: a million clips
_BLOCK, _BLOCKS = 4096, 64
_KEY_LETTERS, _CHECKSUM_LETTERS = 24, 8
_SKEW_NS = 60 * 10**9  # between the clocks of a file server and of this machine
# A line as extraction writes it; whatever else is valid goes through a JSON parser, which takes far longer.
_NUMBER = "(0|[1-9][0-9]{0,18})"
_TEXT = '"([0-9a-f]*)"'
_PLAIN: Final = re.compile(rf"\[\[{_NUMBER}, {_NUMBER}, {_NUMBER}\], {_TEXT}, {_TEXT}, {_TEXT}\]")
_SPARE = 1000  # outdated lines that are not worth a tidying


class FileState(NamedTuple):
    """A file as the file system describes it: as long as this stays, so does the content."""

    size: int
    modified_ns: int
    changed_ns: int
    """Of the inode: tools that give a changed file its old time back cannot set it back."""

    @classmethod
    def of(cls, path: StrPath) -> FileState:
        """Return the state of `path`. Raises OSError."""
        return cls.from_status(os.stat(path))  # noqa: PTH116 - of a text, too

    @classmethod
    def from_status(cls, status: os.stat_result) -> FileState:
        """Return the state of a file of that status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def same_content(self, other: FileState) -> bool:
        """Return whether the content was not written between the two; the inode may have changed."""
        return (self.size, self.modified_ns) == (other.size, other.modified_ns)


class Origin(NamedTuple):
    """What a code file was made from."""

    state: FileState
    """The recording's."""
    audio: str
    """`content_digest` of the recording."""
    codes: str
    """Digest of the codes' values."""
    codec: str = ""
    """Which codec made them; empty where that is not known."""


def content_digest(path: StrPath) -> str:
    """Return a digest of a file's size and content, in hex.

    All of a file of up to 256 KiB counts, and of a larger one 64 blocks of 4 KiB spread evenly from its first
    byte to its last: of ten seconds at 44.1 kHz in 16 bits every part longer than 0.12 s.

    Raises:
        DataError: there is no such file, or it is not a regular one.
        StorageError: the system refused to read it.
    """
    with open_regular(path) as file, reading(path):
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
        if size <= _BLOCK * _BLOCKS:
            digest.update(file.read(_BLOCK * _BLOCKS))
        else:
            for number in range(_BLOCKS):
                file.seek((size - _BLOCK) * number // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def is_made_from(origin: Origin, audio: StrPath, status: os.stat_result | None = None) -> bool:
    """Return whether codes of this origin are those of the recording as it is now.

    Args:
        status: of the recording a moment ago, where it is known.

    Raises:
        DataError: there is no such recording.
        StorageError: the system refused to read it.
    """
    with reading(audio):
        now = FileState.of(audio) if status is None else FileState.from_status(status)
    if now == origin.state:
        return True
    return now.size == origin.state.size and _digest(audio, now) == origin.audio


@lru_cache(maxsize=1 << 18)
def _digest(path: StrPath, state: FileState) -> str:  # noqa: ARG001 - part of the key
    return content_digest(path)


def is_of_other_codec(origin: Origin, codec: str) -> bool:
    """Return whether another codec made the codes than the one of that identity; empty = any will do."""
    return bool(codec and origin.codec and origin.codec != codec)


def is_older(codes: StrPath, audio: StrPath) -> bool:
    """Return whether codes without a known origin seem to be those of an earlier recording.

    A recording dated in the future tells nothing: some clock, or its zone, was wrong. Raises OSError if a
    file is missing.
    """
    recorded = FileState.of(audio).modified_ns
    return FileState.of(codes).modified_ns < recorded <= time.time_ns() + _SKEW_NS


def is_stale(
    audio: StrPath, codes: StrPath, origin: Origin | None, status: os.stat_result | None = None
) -> bool:
    """Return whether codes were made from another recording, without a look at the codes.

    Args:
        origin: what they were made from; where it is not known, the files' times must do.
        status: of the recording a moment ago, where it is known.

    Raises:
        DataError, StorageError: a file cannot be read.
    """
    if origin is not None:
        return not is_made_from(origin, audio, status)
    with reading(audio):
        return is_older(codes, audio)


def inputs_digest(found: Scan, text_extension: str | None = None) -> str:
    """Return a digest of a data set's files by name, size and time: what changes, or is copied, has another.

    Clips to be left out count all the same, as leaving them out changes no file.

    Args:
        text_extension: of the transcripts; None = only recordings count.
    """
    digest = hashlib.blake2b(digest_size=12)
    for clip in found.all_clips:
        files = [*clip.audio_files, *([clip.text_file] if text_extension and clip.text_file else [])]
        if files:
            states = [(os.path.basename(file), size_and_time(file)) for file in files]  # noqa: PTH119
            digest.update(repr((clip.key, states)).encode())
    return digest.hexdigest()


def origin_of(codes: StrPath) -> Origin | None:
    """Return what is known of a code file, or None.

    Raises:
        StorageError: the system refused to read the record.
    """
    place = os.fspath(codes)
    name = os.path.basename(place)  # noqa: PTH119 - asked for each of a hundred thousand clips
    key = _key(name)
    line = _lines_of(place.removesuffix(name) + RECORD_FILE).get(key)
    return _parse(key, line) if line is not None else None


def _lines_of(file: str) -> Mapping[bytes, bytes]:
    try:
        state = os.stat(file)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself: nothing that could say anything
            return {}
        raise unreadable(Path(file), error) from error
    return _read(file, (state.st_size, state.st_mtime_ns, state.st_ctime_ns))


@lru_cache(maxsize=256)
def _read(file: str, state: tuple[int, int, int]) -> Mapping[bytes, bytes]:  # noqa: ARG001 - part of the key
    try:
        lines = read_regular(Path(file), _LARGEST).split(b"\n")
    except DataError:
        return {}
    return {line[:_KEY_LETTERS]: line for line in lines if line}


@lru_cache(maxsize=1 << 16)
def _parse(key: bytes, line: bytes) -> Origin | None:
    content = line[_KEY_LETTERS + _CHECKSUM_LETTERS + 2 :]
    if line != _sealed(key, content):
        return None
    if (plain := _PLAIN.fullmatch(content.decode("latin-1"))) is not None:
        size, modified, changed, audio, codes, codec = plain.groups()
        return Origin(FileState(int(size), int(modified), int(changed)), audio, codes, codec)
    try:
        state, audio, codes, codec = parse_json(content, RECORD_FILE)
        origin = Origin(FileState(*map(int, state)), audio, codes, codec)
    except (MalformedFileError, TypeError, ValueError):
        return None
    return origin if all(isinstance(text, str) for text in (audio, codes, codec)) else None


def append_origins(folder: Path, origins: Iterable[tuple[str, Origin]]) -> None:
    """Add what the code files of these names were made from to the record of `folder`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    lines = b"".join(_line(name, origin) for name, origin in origins)
    file = folder / RECORD_FILE
    with storage_errors(file):
        descriptor = _open_record(file)
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            if size:
                os.lseek(descriptor, size - 1, os.SEEK_SET)
                if os.read(descriptor, 1) != b"\n":  # a killed writer tore the last line
                    lines = b"\n" + lines
            os.write(descriptor, lines)
        finally:
            os.close(descriptor)


def _open_record(file: Path) -> int:
    """Return a descriptor of the record; what lies in its place and is no file of ours is not written to."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    not_ours = StorageError(
        "{file} is not the file that fishtune extract keeps there.",
        "Move it away and run the command again.",
        file=file,
    )
    try:
        descriptor = os.open(file, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise not_ours from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_ours
    return descriptor


def tidy_origins(folder: Path) -> None:
    """Drop outdated lines where they are many; call it only while nobody else writes there.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    file = folder / RECORD_FILE
    newest = _lines_of(str(file))
    if not newest:
        return
    with file.open("rb") as content:
        count = sum(1 for _ in content)
    if count > 2 * len(newest) + _SPARE:
        write_bytes(file, b"".join(line + b"\n" for line in newest.values()))


def _line(name: str, origin: Origin) -> bytes:
    fields = [list(origin.state), origin.audio, origin.codes, origin.codec]
    return _sealed(_key(name), json.dumps(fields).encode()) + b"\n"


def _sealed(key: bytes, content: bytes) -> bytes:
    return key + b" %08x " % zlib.crc32(key + content) + content


def _key(name: str) -> bytes:
    # Some file systems take accents and Korean syllables apart when a folder is copied to them.
    letters = os.fsencode(unicodedata.normalize("NFC", name))
    return hashlib.blake2b(letters, digest_size=_KEY_LETTERS // 2).hexdigest().encode()
