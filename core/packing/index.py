"""Random access to the sentences of packed shards, without loading or parsing what is not asked for.

The index lists, for every sentence, where it lies and how long it is. It is built once by walking the
shards, kept in one file beside them (in the person's cache folder where that cannot be written), mapped
into memory when it is opened, and built anew when a shard changes. Shards of any writer will do.

    file = MAGIC, length of the header (u64), header (JSON), padding, records (RECORD), clip names (UTF-8)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
from pydantic import BaseModel, ValidationError

from ..errors import ShardError, StorageError
from ..files import atomic_open
from .manifest import MANIFEST_FILE
from .shards import Sentence, decode_sentence, shard_paths, walk_shard

CACHE_PREFIX = "fishtune-"
"""Begins the names of what is computed from shards and kept beside them; it may go with them."""
INDEX_FILE = f"{CACHE_PREFIX}index.bin"
_MAGIC = b"fishtune index 1\n"
_ALIGNMENT = 64
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


class _Header(BaseModel):
    shards: list[tuple[str, int, int]]
    """Name, bytes and modification time (ns) of every shard."""
    speakers: list[str]
    largest_codes: list[int]
    sentences: int


class ShardIndex:
    """The sentences of a folder of shards. Made by `ShardIndex.open`.

    It holds no sentence and no open file, so it may be shared with or sent to data-loading processes.
    All arrays are read-only, one entry a sentence, in the shards' order.
    """

    def __init__(self, folder: Path, file: Path, header: _Header, start: int) -> None:
        self.folder = folder
        self._file = file
        self._header = header
        count = header.sentences
        self._names_start = start + count * RECORD.itemsize
        self._records: npt.NDArray[np.void] = np.memmap(
            file, dtype=RECORD, mode="r", offset=start, shape=(count,)
        )

    @classmethod
    def open(cls, folder: Path, progress: Callable[[int], None] | None = None) -> ShardIndex:
        """Return the index of the shards in `folder`, built if there is none or a shard has changed.

        Args:
            progress: called with the bytes that were indexed since the last call, if it must be built.

        Raises:
            ShardError: no shards, or one is truncated or damaged, or they differ in their codebooks.
            StorageError: the index cannot be written anywhere.
        """
        folder = folder.absolute()
        shards = _fingerprint(folder)
        for file in (folder / INDEX_FILE, _cache_file(folder)):
            index = cls._read(folder, file, shards)
            if index is not None:
                return index
        names = _read_names(folder, shards)
        header, records, blob = _build(folder, shards, names, progress)
        try:
            file = folder / INDEX_FILE
            _write(file, header, records, blob)
        except StorageError:
            file = _cache_file(folder)
            _write(file, header, records, blob)
        index = cls._read(folder, file, shards)
        if index is None:
            raise ShardError(
                f"The shards in {folder} change while they are read.", "Wait until packing has ended."
            )
        return index

    @classmethod
    def _read(cls, folder: Path, file: Path, shards: list[tuple[str, int, int]]) -> ShardIndex | None:
        """Return the index stored in `file`, or None where it is absent, outdated or damaged."""
        try:
            with file.open("rb") as stored:
                if stored.read(len(_MAGIC)) != _MAGIC:
                    return None
                length = int.from_bytes(stored.read(8), "little")
                header = _Header.model_validate_json(stored.read(length))
                start = _aligned(len(_MAGIC) + 8 + length)
                size = os.fstat(stored.fileno()).st_size
        except (OSError, ValidationError, OverflowError, MemoryError):
            return None
        if header.shards != shards or size < start + header.sentences * RECORD.itemsize:
            return None
        return cls(folder, file, header, start)

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardIndex.open, (self.folder,)  # a mapped array would be pickled whole

    def __len__(self) -> int:
        return len(self._records)

    @property
    def speakers(self) -> list[str]:
        """Names of the speakers; `speaker_ids` points into it."""
        return self._header.speakers

    @property
    def speaker_ids(self) -> npt.NDArray[np.uint32]:
        """Speaker of every sentence, an index into `speakers`."""
        return self._records["speaker"]

    @property
    def frames(self) -> npt.NDArray[np.uint32]:
        """Frames of every sentence."""
        return self._records["frames"]

    @property
    def text_bytes(self) -> npt.NDArray[np.uint32]:
        """UTF-8 bytes of every sentence's longest text: an upper bound of its byte-level BPE tokens."""
        return self._records["text_bytes"]

    @property
    def content_hashes(self) -> npt.NDArray[np.uint64]:
        """A hash of speaker, texts and codes: the same whatever else is in the data set."""
        return self._records["hash"]

    @property
    def num_codebooks(self) -> int:
        """K, the same in every sentence."""
        return len(self._header.largest_codes)

    @property
    def largest_codes(self) -> list[int]:
        """The largest code that occurs in each of the K codebooks."""
        return self._header.largest_codes

    def name(self, i: int) -> str:
        """Return what sentence `i` is called: `SPEAKER/NAME` if fishtune packed it, else `SPEAKER #i`."""
        begin = int(self._records["name_end"][i - 1]) if i else 0
        end = int(self._records["name_end"][i])
        if begin == end:
            return f"{self.speakers[self._records['speaker'][i]]} #{i}"
        with self._file.open("rb") as file:
            file.seek(self._names_start + begin)
            return file.read(end - begin).decode("utf-8")

    def read(self, i: int) -> Sentence:
        """Return sentence `i`, read from its shard.

        Raises:
            ShardError: the shard was changed since the index was opened, or cannot be read.
        """
        record = self._records[i]
        name, size, modified = self._header.shards[record["shard"]]
        path = self.folder / name
        try:
            with path.open("rb", buffering=0) as file:
                state = os.fstat(file.fileno())
                if (state.st_size, state.st_mtime_ns) != (size, modified):
                    raise ShardError(
                        f"{path} was changed while it was in use.",
                        "Start again, so that the new data is indexed.",
                    )
                file.seek(int(record["offset"]))
                content = file.read(int(record["length"]))
        except OSError as error:
            raise ShardError(
                f"{path} cannot be read ({error.strerror}).", "Was the data set packed or moved meanwhile?"
            ) from error
        return decode_sentence(content, f"{path}, byte {record['offset']}")


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _cache_file(folder: Path) -> Path:
    digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=12).hexdigest()
    return Path(platformdirs.user_cache_dir("fishtune")) / "shards" / f"{digest}.bin"


def _fingerprint(folder: Path) -> list[tuple[str, int, int]]:
    try:
        states = [(path.name, path.stat()) for path in shard_paths(folder)]
    except OSError as error:
        raise ShardError(f"{folder} cannot be read ({error.strerror}).", "Check its permissions.") from error
    if not states:
        raise ShardError(
            f"{folder} has no packed data (*.protos).", "Pack the data set first with: fishtune pack"
        )
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def _build(
    folder: Path,
    shards: list[tuple[str, int, int]],
    names: list[str],
    progress: Callable[[int], None] | None,
) -> tuple[_Header, npt.NDArray[np.void], bytes]:
    speakers: dict[str, int] = {}
    largest: npt.NDArray[np.int64] | None = None
    parts: list[npt.NDArray[np.void]] = []
    blob = bytearray()
    unused = iter(names)
    for number, (shard, size, _) in enumerate(shards):
        path = folder / shard
        rows: list[tuple[int, ...]] = []
        for location in walk_shard(path):
            where = f"{path}, byte {location.offset}"
            sentence = decode_sentence(location.content, where)
            highest = sentence.codes.max(axis=1)
            if largest is not None and len(highest) != len(largest):
                raise ShardError(
                    f"{where}: the sentence has {len(highest)} codebooks, the ones before it {len(largest)}.",
                    "Extract all recordings with the same codec and pack again.",
                )
            largest = highest if largest is None else np.maximum(largest, highest)
            blob += next(unused, "").encode("utf-8")
            rows.append(
                (
                    location.offset,
                    _content_hash(location.speaker, location.content),
                    len(blob),
                    len(location.content),
                    number,
                    speakers.setdefault(location.speaker, len(speakers)),
                    sentence.codes.shape[1],
                    max(len(text.encode("utf-8")) for text in sentence.texts),
                )
            )
        parts.append(np.array(rows, dtype=RECORD))
        if progress is not None:
            progress(size)
    if largest is None:
        raise ShardError(f"{folder} has shards but no sentences.", "Pack a data set that has some.")
    records = np.concatenate(parts)
    header = _Header(
        shards=shards, speakers=list(speakers), largest_codes=largest.tolist(), sentences=len(records)
    )
    return header, records, bytes(blob)


def _content_hash(speaker: str, content: bytes) -> int:
    digest = hashlib.blake2b(speaker.encode("utf-8") + b"\0" + content, digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _write(file: Path, header: _Header, records: npt.NDArray[np.void], names: bytes) -> None:
    content = header.model_dump_json().encode("utf-8")
    start = _MAGIC + len(content).to_bytes(8, "little") + content
    with atomic_open(file) as target:
        target.write(start.ljust(_aligned(len(start)), b"\0"))
        target.write(records.tobytes())
        target.write(names)


def _read_names(folder: Path, shards: list[tuple[str, int, int]]) -> list[str]:
    """Return the clips' names if `fishtune pack` wrote exactly these shards, else nothing."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        if manifest["shards"] == {name: size for name, size, _ in shards}:
            return [str(name) for name in manifest["clips"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # shards of another writer, or moved in beside ours: they have no names
    return []
