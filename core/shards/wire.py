"""The one module that knows the bytes of a shard (formats.md section 6).

A shard is a stream of `TextData` messages, each preceded by its length as a 4-byte little-endian
unsigned integer. Writing and walking work sentence by sentence: a message is put together from
serialised sentences and taken apart by its field tags, so a speaker of any size needs no more memory
than one message.
"""

from __future__ import annotations

import functools
import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from ..dataset.clips import SHARD_EXTENSION
from ..dataset.codes import Codes
from ..errors import ShardError
from ..files import storage_errors
from ..messages import Message, plural
from ..reading import blocks, open_regular, reading, unreadable
from . import text_data_pb2

SHARD_SIZE = 10_000_000
MESSAGE_SIZE = 64 << 20
"""A speaker's message is closed once it exceeds this many bytes, and another of the same name is begun.

Protobuf refuses messages of 2 GiB; readers that parse whole messages need several times their size.
"""
_DIGEST_SIZE = 16  # bytes
_SOURCE = "folder"
_LENGTH = struct.Struct("<I")
# Codes of up to 14 bits, as every codec of the family has, as one or two bytes each. The second is below 128;
# it is 0 for none, and code 0 is two bytes of 255 until those have been taken out.
_CODES = np.arange(1 << 14, dtype="<u2")
_VARINTS = np.where(_CODES < 0x80, _CODES, _CODES & 0x7F | 0x80 | _CODES >> 7 << 8).astype("<u2")
_NO_SECOND, _CODE_0 = b"\0", b"\xff\xff"
_VARINTS[0] = int.from_bytes(_CODE_0, "little")
_TEXTS_TAG = bytes([text_data_pb2.Sentence.TEXTS_FIELD_NUMBER << 3 | 2])
_SEMANTICS_TAG = bytes([text_data_pb2.Sentence.SEMANTICS_FIELD_NUMBER << 3 | 2])
_VALUES_TAG = bytes([text_data_pb2.Semantics.VALUES_FIELD_NUMBER << 3 | 2])
_SENTENCES_TAG = text_data_pb2.TextData.SENTENCES_FIELD_NUMBER << 3 | 2
_NAME_TAG = text_data_pb2.TextData.NAME_FIELD_NUMBER << 3 | 2
_PACK_AGAIN = Message("Pack the data set again with: fishtune pack")


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A transcript and the codes of its recording."""

    texts: tuple[str, ...]
    """Usually one; more are variants of the same transcript."""
    codes: Codes
    """`(K, frames)` int64."""


def encode_sentence(sentence: Sentence) -> bytes:
    """Return the sentence as a serialised `Sentence` message."""
    codes = sentence.codes
    try:
        content = _VARINTS.take(codes).tobytes()
    except IndexError:  # a code of more than 14 bits
        return _encode_any(sentence)
    if not content:
        return _encode_any(sentence)
    parts: list[bytes] = []
    for text in sentence.texts:
        letters = text.encode("utf-8")
        parts += (_TEXTS_TAG, _varint(len(letters)), letters)
    size = len(content) // len(codes)
    for begin in range(0, len(content), size):
        row = content[begin : begin + size].translate(None, _NO_SECOND).replace(_CODE_0, b"\0")
        parts += (_semantics_head(len(row)), row)
    return b"".join(parts)


def _encode_any(sentence: Sentence) -> bytes:
    """Return what `encode_sentence` does, by protobuf's own serialiser, which takes five times as long."""
    rows = [text_data_pb2.Semantics(values=row) for row in sentence.codes.tolist()]
    message = text_data_pb2.Sentence(texts=sentence.texts, semantics=rows)
    return message.SerializeToString(deterministic=True)


@functools.lru_cache(maxsize=1 << 14)
def _semantics_head(size: int) -> bytes:
    """Return what comes before `size` bytes of codes in a sentence: the tags and lengths of `Semantics`."""
    inner = _VALUES_TAG + _varint(size)
    return _SEMANTICS_TAG + _varint(len(inner) + size) + inner


def decode_sentence(content: bytes, where: str) -> Sentence:
    """Return a serialised `Sentence` message as a sentence.

    Args:
        where: file and offset, for the error.

    Raises:
        ShardError: it cannot be parsed, has no text or codes, or codebooks of different length.
    """
    try:
        message = text_data_pb2.Sentence.FromString(content)
    except DecodeError as error:
        raise ShardError(
            "{where}: the sentence is damaged ({reason}).", _PACK_AGAIN, where=where, reason=error
        ) from error
    rows = [list(semantics.values) for semantics in message.semantics]
    frames = [len(row) for row in rows]
    if not message.texts or not frames or not frames[0] or len(set(frames)) != 1:
        raise ShardError(
            "{where}: the sentence has {texts} and codebooks of {frames} frames; a text "
            "and codebooks of one length are needed.",
            _PACK_AGAIN,
            where=where,
            texts=plural(len(message.texts), "{number} text", "{number:,} texts"),
            frames=frames,
        )
    return Sentence(tuple(message.texts), np.array(rows, dtype=np.int64))


def shard_digest(path: Path) -> str:
    """Return a digest of a whole shard, in hex.

    Raises:
        ShardError: there is no such file.
        StorageError: the system refused to read it.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    with open_regular(path, ShardError) as file, reading(path, ShardError):
        for block in blocks(file):
            digest.update(block)
    return digest.hexdigest()


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards in `folder`, sorted by name."""
    return sorted(folder.glob(f"*{SHARD_EXTENSION}"))


class Place(NamedTuple):
    """Where a serialised sentence begins."""

    shard: int
    """By its place in the order of the shards' names."""
    offset: int


class ShardWriter:
    """Writes `00000000.protos`, `00000001.protos`, … into a folder; use it as a context manager.

    Nothing here is atomic: the folder is expected to be a temporary one that is swapped in whole.

    Args:
        folder: an existing, empty folder.
        shard_size: a new shard is begun once the current one exceeds this many bytes.
        message_size: a message is closed once it exceeds this many bytes.
    """

    def __init__(self, folder: Path, shard_size: int = SHARD_SIZE, message_size: int = MESSAGE_SIZE) -> None:
        self._folder = folder
        self._shard_size = shard_size
        self._message_size = message_size
        self._speaker = ""
        self._sentences: list[bytes] = []
        self._message_bytes = 0
        self._file: IO[bytes] | None = None
        self._digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
        self.paths: list[Path] = []
        self.places: list[Place] = []
        """Of every sentence that is written, in order."""
        self.digests: dict[str, str] = {}
        """`shard_digest` of every shard that is complete, by its name."""

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._close_message()
        finally:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._file is not None:
            self._file.close()
            self.digests[self.paths[-1].name] = self._digest.hexdigest()
            self._file, self._digest = None, hashlib.blake2b(digest_size=_DIGEST_SIZE)

    def add(self, speaker: str, sentence: bytes) -> None:
        """Append a serialised sentence; sentences of one speaker must follow one another.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        if speaker != self._speaker or self._message_bytes > self._message_size:
            self._close_message()
            self._speaker = speaker
        self._sentences.append(sentence)
        self._message_bytes += len(sentence)

    def _close_message(self) -> None:
        if not self._sentences:
            return
        # Serialised fields may be joined to a message: protobuf defines repeated fields that way.
        head = text_data_pb2.TextData(source=_SOURCE, name=self._speaker).SerializeToString()
        parts, size = [head], len(head)
        begins = []
        for sentence in self._sentences:
            before = bytes([_SENTENCES_TAG]) + _varint(len(sentence))
            begins.append(size + len(before))
            parts += (before, sentence)
            size += len(before) + len(sentence)
        message = b"".join(parts)
        path = self.paths[-1] if self.paths else self._folder
        with storage_errors(path):
            if self._file is None or self._file.tell() > self._shard_size:
                self._close_shard()
                path = self._folder / f"{len(self.paths):08d}{SHARD_EXTENSION}"
                self.paths.append(path)
                self._file = path.open("wb")
            shard, body = len(self.paths) - 1, self._file.tell() + _LENGTH.size
            self.places += [Place(shard, body + begin) for begin in begins]
            for part in (_LENGTH.pack(len(message)), message):
                self._file.write(part)
                self._digest.update(part)
            self._file.flush()
        self._sentences, self._message_bytes = [], 0


@dataclass(frozen=True, slots=True)
class Location:
    """Where a serialised sentence lies in its shard."""

    speaker: str
    offset: int
    content: bytes


def walk_shard(path: Path) -> Iterator[Location]:
    """Yield every sentence of a shard in order, without parsing it.

    Raises:
        ShardError: the shard is missing, ends in the middle of a message, or is damaged; the message
            names the file and the offset.
        StorageError: the system refused to read it.
    """
    try:
        with open_regular(path, ShardError) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise ShardError("{file} is empty.", _PACK_AGAIN, file=path)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                position = 0
                while position < size:
                    body = position + _LENGTH.size
                    end = body + _LENGTH.unpack_from(content, position)[0] if body <= size else size + 1
                    if end > size:
                        raise ShardError(
                            "{file} is cut off: the message at byte {position} does not end within its "
                            "{size} bytes.",
                            _PACK_AGAIN,
                            file=path,
                            position=position,
                            size=size,
                        )
                    yield from _walk_message(content, body, end, path)
                    position = end
    except OSError as error:
        raise unreadable(path, error) from error


def _walk_message(content: mmap.mmap, position: int, end: int, path: Path) -> Iterator[Location]:
    speaker = ""
    sentences: list[tuple[int, int]] = []
    try:
        while position < end:
            start = position
            tag, position = _read_varint(content, position, end)
            if tag & 7 != 2:  # every field of TextData is length-delimited
                raise ValueError(Message("unexpected field {tag}", tag=tag >> 3))
            length, position = _read_varint(content, position, end)
            if position + length > end:
                raise ValueError(Message("field {tag} ends after its message", tag=tag >> 3))
            if tag == _NAME_TAG:
                speaker = content[position : position + length].decode("utf-8")
            elif tag == _SENTENCES_TAG:
                sentences.append((position, length))
            position += length
    except ValueError as error:
        raise ShardError(
            "{file} is damaged at byte {start}: {reason}.", _PACK_AGAIN, file=path, start=start, reason=error
        ) from error
    # The name may come after the sentences: field order is the writer's choice.
    for offset, length in sentences:
        yield Location(speaker, offset, content[offset : offset + length])


def _read_varint(content: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 64:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError(Message("a number does not end"))
