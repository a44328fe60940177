"""The file that keeps an index of packed shards: what is in it, and when it may be believed.

    file = MAGIC, checksum of what follows (16 bytes), length of the header (u64), header (JSON), padding,
           records (RECORD), clip names (UTF-8)

The same shards give the same bytes, whether packing wrote the index or reading the shards did.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from ..dataset.origins import content_digest
from ..errors import DataError, FishtuneError, MalformedFileError, ShardError
from ..files import atomic_open
from ..messages import of_the_system
from ..reading import open_regular, reading
from ..tables import parse_json
from .wire import Place, Sentence, shard_paths

Bytes = npt.NDArray[np.uint8]
ShardState = tuple[str, int, str]
"""Name, bytes and `content_digest` of a shard."""
_MAGIC = b"fishtune index 2\n"
_CHECKSUM_SIZE = 16
_BODY = len(_MAGIC) + _CHECKSUM_SIZE
_ALIGNMENT = 64
_ROWS = 1 << 14  # that are kept as Python's numbers
RECORD = np.dtype(
    [
        ("offset", "<u8"),  # of the sentence in its shard, bytes
        ("hash", "<u8"),  # of the speaker and the sentence's bytes
        ("name_end", "<u8"),  # where the clip's name ends in the names
        ("length", "<u4"),  # of the sentence, bytes
        ("shard", "<u4"),
        ("speaker", "<u4"),
        ("frames", "<u4"),
        ("text_bytes", "<u4"),
    ]
)


class IndexHeader(BaseModel):
    """What the index says of all its sentences."""

    shards: list[ShardState]
    speakers: list[str] = Field(min_length=1)
    largest_codes: list[int] = Field(min_length=1)
    sentences: int = Field(ge=1)


class IndexEntry(NamedTuple):
    """What the index says of a sentence, apart from its place and its names."""

    content_hash: int
    """Of the speaker and the sentence's bytes."""
    length: int
    """Of the serialised sentence, bytes."""
    frames: int
    text_bytes: int
    """Of the longest text, UTF-8."""
    largest: list[int]
    """The largest code of each codebook."""

    @property
    def codebooks(self) -> int:
        """Number of codebooks."""
        return len(self.largest)


def entry_of(speaker: str, sentence: Sentence, content: bytes) -> IndexEntry:
    """Return what the index says of a sentence that is `content` when it is serialised."""
    return IndexEntry(
        content_hash(speaker, content),
        len(content),
        sentence.codes.shape[1],
        max(len(text.encode("utf-8")) for text in sentence.texts),
        np.maximum.reduce(sentence.codes, axis=1).tolist(),  # without what `max` does around it
    )


class IndexBuilder:
    """Collects the entries of all sentences, in the order of the shards, and writes the index.

    All sentences have the same number of codebooks.
    """

    def __init__(self) -> None:
        self._speakers: dict[str, int] = {}
        self._largest: list[int] = []
        self._rows: list[tuple[int, ...]] = []
        self._parts: list[npt.NDArray[np.void]] = []
        self._names = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, speaker: str, name: str, place: Place, entry: IndexEntry) -> None:
        """Add a sentence.

        Args:
            name: `SPEAKER/NAME`, or empty where it is not known.
        """
        self._count += 1
        self._names += name.encode("utf-8")
        self._largest = list(map(max, self._largest, entry.largest)) if self._largest else entry.largest
        self._rows.append(
            (
                place.offset,
                entry.content_hash,
                len(self._names),
                entry.length,
                place.shard,
                self._speakers.setdefault(speaker, len(self._speakers)),
                entry.frames,
                entry.text_bytes,
            )
        )
        if len(self._rows) == _ROWS:
            self._pack()

    def write(self, file: Path, shards: list[ShardState]) -> None:
        """Write the index of the shards, which hold just these sentences, atomically.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        self._pack()
        header = IndexHeader(
            shards=shards,
            speakers=list(self._speakers),
            largest_codes=self._largest,
            sentences=self._count,
        )
        content = header.model_dump_json().encode("utf-8")
        head = len(content).to_bytes(8, "little") + content
        head = head.ljust(_aligned(_BODY + len(head)) - _BODY, b"\0")
        parts = (head, *(part.tobytes() for part in self._parts), bytes(self._names))
        with atomic_open(file) as target:
            target.write(_MAGIC)
            target.write(_checksum(*parts))
            for part in parts:
                target.write(part)

    def _pack(self) -> None:
        self._parts.append(np.array(self._rows, dtype=RECORD))
        self._rows.clear()


@dataclass(frozen=True, slots=True, eq=False)
class IndexFile:
    """A stored index, mapped into memory."""

    checksum: bytes
    header: IndexHeader
    records: npt.NDArray[np.void]
    """`RECORD`, one a sentence."""
    names: Bytes
    """Of the clips, one after the other."""


def read_index(file: Path, shards: list[ShardState]) -> IndexFile | None:
    """Return the stored index of `shards`; None where it is absent, outdated or damaged."""
    try:
        with open_regular(file) as stored, reading(file):
            if os.fstat(stored.fileno()).st_size <= _BODY + 8:
                return None
            content: Bytes = np.memmap(stored, dtype=np.uint8, mode="r")
    except FishtuneError:
        return None
    checksum = content[len(_MAGIC) : _BODY].tobytes()
    if content[: len(_MAGIC)].tobytes() != _MAGIC or checksum != _checksum(content[_BODY:].data):
        return None
    length = int.from_bytes(content[_BODY : _BODY + 8].tobytes(), "little")
    try:
        header = IndexHeader.model_validate(
            parse_json(content[_BODY + 8 : _BODY + 8 + length].tobytes(), str(file))
        )
    except (MalformedFileError, ValidationError):
        return None
    start = _aligned(_BODY + 8 + length)
    end = start + header.sentences * RECORD.itemsize
    if header.shards != shards or len(content) < end:
        return None
    index = IndexFile(checksum, header, content[start:end].view(RECORD), content[end:])
    return index if _is_consistent(index) else None


def _is_consistent(index: IndexFile) -> bool:
    records, header = index.records, index.header
    sizes = np.array([size for _, size, _ in header.shards], dtype=np.uint64)
    ends = records["name_end"]
    return bool(
        (records["shard"] < len(sizes)).all()
        and (records["speaker"] < len(header.speakers)).all()
        and (records["offset"] + records["length"] <= sizes[records["shard"]]).all()
        and (ends[1:] >= ends[:-1]).all()
        and ends[-1] == len(index.names)
    )


def shard_states(folder: Path) -> list[ShardState]:
    """Return the state of every shard in a folder, sorted by name.

    Raises:
        ShardError: there are none, or they cannot be looked at.
    """
    try:
        paths = shard_paths(folder)
        states = [(path.name, path.stat().st_size, content_digest(path)) for path in paths]
    except DataError as error:
        raise ShardError(error.message, error.hint) from error
    except OSError as error:
        raise ShardError(
            "{folder} cannot be read ({reason}).",
            "Check its permissions.",
            folder=folder,
            reason=of_the_system(error),
        ) from error
    if not states:
        raise ShardError(
            "{folder} has no packed data (*.protos).",
            "Pack the data set first with: fishtune pack",
            folder=folder,
        )
    return states


def content_hash(speaker: str, content: bytes) -> int:
    """Return a hash of a speaker and a serialised sentence."""
    digest = hashlib.blake2b(speaker.encode("utf-8") + b"\0", digest_size=8)
    digest.update(content)
    return int.from_bytes(digest.digest(), "little")


def _checksum(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=_CHECKSUM_SIZE)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT
