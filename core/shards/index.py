"""Random access to the sentences of packed shards, without loading or parsing what is not asked for.

The index lists, for every sentence, where it lies and how long it is. It is built once by walking the
shards, kept in one file beside them (in the person's cache folder where that cannot be written), mapped
into memory when it is opened, and built anew when a shard changes. Shards of any writer will do.

    file = MAGIC, checksum of what follows (16 bytes), length of the header (u64), header (JSON), padding,
           records (RECORD), clip names (UTF-8)

The same shards give the same bytes. An index that is damaged or of other shards is built anew; a sentence
that is no longer what was indexed is an error when it is read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
from pydantic import BaseModel, Field, ValidationError

from ..dataset.origins import content_digest
from ..errors import DataError, FishtuneError, MalformedFileError, ShardError, StorageError
from ..files import atomic_open
from ..messages import Message, of_the_system
from ..reading import open_regular, reading
from ..tables import parse_json
from .manifest import INDEX_FILE, MANIFEST_FILE, read_manifest
from .wire import Sentence, decode_sentence, shard_digest, shard_paths, walk_shard

Bytes = npt.NDArray[np.uint8]
ShardState = tuple[str, int, str]
"""Name, bytes and `content_digest` of a shard."""
_MAGIC = b"fishtune index 2\n"
_CHECKSUM_SIZE = 16
_BODY = len(_MAGIC) + _CHECKSUM_SIZE
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
    shards: list[ShardState]
    speakers: list[str] = Field(min_length=1)
    largest_codes: list[int] = Field(min_length=1)
    sentences: int = Field(ge=1)


class ShardIndex:
    """The sentences of a folder of shards. Made by `ShardIndex.open`.

    It holds no sentence and no open file, so it may be shared with or sent to data-loading processes.
    All arrays are read-only, one entry a sentence, in the shards' order.
    """

    def __init__(self, folder: Path, checksum: bytes, header: _Header, content: Bytes, start: int) -> None:
        self.folder = folder
        self._checksum = checksum
        self._header = header
        names = start + header.sentences * RECORD.itemsize
        self._records: npt.NDArray[np.void] = content[start:names].view(RECORD)
        self._names = content[names:]

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
        shards = _states(folder)
        for file in (folder / INDEX_FILE, _cache_file(folder)):
            index = cls._read(folder, file, shards)
            if index is not None:
                return index
        header, records, blob = _build(folder, shards, _names(folder, shards), progress)
        try:
            file = folder / INDEX_FILE
            _write(file, header, records, blob)
        except StorageError:
            file = _cache_file(folder)
            _write(file, header, records, blob)
        index = cls._read(folder, file, shards)
        if index is None:
            raise ShardError(
                "The shards in {folder} change while they are read.",
                "Wait until packing has ended.",
                folder=folder,
            )
        return index

    @classmethod
    def _read(cls, folder: Path, file: Path, shards: list[ShardState]) -> ShardIndex | None:
        """Return the index stored in `file`, or None where it is absent, outdated or damaged."""
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
            header = _Header.model_validate(
                parse_json(content[_BODY + 8 : _BODY + 8 + length].tobytes(), str(file))
            )
        except (MalformedFileError, ValidationError):
            return None
        start = _aligned(_BODY + 8 + length)
        if header.shards != shards or len(content) < start + header.sentences * RECORD.itemsize:
            return None
        index = cls(folder, checksum, header, content, start)
        return index if index._is_consistent() else None

    def _is_consistent(self) -> bool:
        records, header = self._records, self._header
        sizes = np.array([size for _, size, _ in header.shards], dtype=np.uint64)
        ends = records["name_end"]
        return bool(
            (records["shard"] < len(sizes)).all()
            and (records["speaker"] < len(header.speakers)).all()
            and (records["offset"] + records["length"] <= sizes[records["shard"]]).all()
            and (ends[1:] >= ends[:-1]).all()
            and ends[-1] == len(self._names)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.folder, self._checksum)  # a mapped array would be pickled whole

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
        return self._names[begin:end].tobytes().decode("utf-8", "replace")

    def read(self, i: int) -> Sentence:
        """Return sentence `i`, read from its shard.

        Raises:
            ShardError: the shard is gone, or the sentence is no longer what was indexed.
            StorageError: the system refused to read the shard.
        """
        record = self._records[i]
        path = self.folder / self._header.shards[record["shard"]][0]
        with open_regular(path, ShardError) as file, reading(path, ShardError):
            file.seek(int(record["offset"]))
            content = file.read(int(record["length"]))
        if _content_hash(self.speakers[record["speaker"]], content) != record["hash"]:
            raise ShardError(
                "{file} was changed while it was in use, or is damaged at byte {offset}.",
                "Start again, so that the data is indexed again; if that does not help, pack it again.",
                file=path,
                offset=record["offset"],
            )
        return decode_sentence(content, Message("{file}, byte {offset}", file=path, offset=record["offset"]))


def _reopen(folder: Path, checksum: bytes) -> ShardIndex:
    """Return the index that another process has open."""
    index = ShardIndex.open(folder)
    if index._checksum != checksum:
        raise ShardError(
            "The shards in {folder} were changed while they were in use.",
            "Start again, so that the new data is indexed.",
            folder=folder,
        )
    return index


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _cache_file(folder: Path) -> Path:
    digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=12).hexdigest()
    return Path(platformdirs.user_cache_dir("fishtune")) / "shards" / f"{digest}.bin"


def _states(folder: Path) -> list[ShardState]:
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


def _build(
    folder: Path,
    shards: list[ShardState],
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
            where = Message("{file}, byte {offset}", file=path, offset=location.offset)
            sentence = decode_sentence(location.content, where)
            highest = sentence.codes.max(axis=1)
            if largest is not None and len(highest) != len(largest):
                raise ShardError(
                    "{where}: the sentence has {number} codebooks, the ones before it {other}.",
                    "Extract all recordings with the same codec and pack again.",
                    where=where,
                    number=len(highest),
                    other=len(largest),
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
        raise ShardError(
            "{folder} has shards but no sentences.", "Pack a data set that has some.", folder=folder
        )
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
    head = len(content).to_bytes(8, "little") + content
    head = head.ljust(_aligned(_BODY + len(head)) - _BODY, b"\0")
    with atomic_open(file) as target:
        target.write(_MAGIC)
        target.write(_checksum(head, records.tobytes(), names))
        target.write(head)
        target.write(records.tobytes())
        target.write(names)


def _checksum(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=_CHECKSUM_SIZE)
    for part in parts:
        digest.update(part)
    return digest.digest()


def _names(folder: Path, shards: list[ShardState]) -> list[str]:
    """Return the clips' names if `fishtune pack` wrote exactly these shards, else nothing.

    Raises:
        ShardError: a shard is missing, or is not what `fishtune pack` wrote.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return []
    hint = Message(
        "Pack the data set again. If other shards were put there on purpose, remove {folder}.",
        folder=folder / MANIFEST_FILE,
    )
    sizes = {name: size for name, size, _ in shards}
    for name, size in manifest.shards.items():
        path = folder / name
        if name not in sizes:
            raise ShardError("{file} is missing: fishtune pack wrote it.", hint, file=path)
        is_other = manifest.format > 1 and shard_digest(path) != manifest.digests.get(name)
        if sizes[name] != size or is_other:
            raise ShardError("{file} is damaged: it is not what fishtune pack wrote.", hint, file=path)
    # Shards of another writer that lie beside ours have no names.
    return manifest.clips if len(sizes) == len(manifest.shards) else []
