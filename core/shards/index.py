"""Random access to the sentences of packed shards, without loading or parsing what is not asked for.

The index lists, for every sentence, where it lies and how long it is. It is built once by walking the
shards, kept in one file beside them (in the user's cache folder where that cannot be written), mapped
into memory when it is opened, and built anew when a shard changes. Shards of any writer will do.
Its file is described in `index_file`. One that is damaged or of other shards is built anew; a sentence that
is no longer what was indexed is an error when it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ShardError, StorageError
from ..messages import Message
from ..reading import open_regular, reading
from ..user_folders import cache_file
from .index_file import (
    IndexBuilder,
    IndexFile,
    ShardState,
    content_hash,
    entry_of,
    read_index,
    shard_states,
)
from .manifest import INDEX_FILE, MANIFEST_FILE, read_manifest
from .wire import Place, Sentence, decode_sentence, shard_digest, walk_shard


class ShardIndex:
    """The sentences of a folder of shards. Made by `ShardIndex.open`.

    It holds no sentence and no open file, so it may be shared with or sent to data-loading processes.
    All arrays are read-only, one entry a sentence, in the shards' order.
    """

    def __init__(self, folder: Path, file: IndexFile) -> None:
        self.folder = folder
        self._checksum, self._header = file.checksum, file.header
        self._records, self._names = file.records, file.names

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
        shards = shard_states(folder)
        for file in (folder / INDEX_FILE, _cache_file(folder)):
            if (found := read_index(file, shards)) is not None:
                return cls(folder, found)
        builder = _build(folder, shards, _names(folder, shards), progress)
        try:
            file = folder / INDEX_FILE
            builder.write(file, shards)
        except StorageError:
            file = _cache_file(folder)
            builder.write(file, shards)
        found = read_index(file, shards)
        if found is None:
            raise ShardError(
                "The shards in {folder} change while they are read.",
                "Wait until packing has ended.",
                folder=folder,
            )
        return cls(folder, found)

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
        if content_hash(self.speakers[record["speaker"]], content) != record["hash"]:
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


def _cache_file(folder: Path) -> Path:
    return cache_file("shards", folder.resolve(), ".bin")


def _build(
    folder: Path,
    shards: list[ShardState],
    names: list[str],
    progress: Callable[[int], None] | None,
) -> IndexBuilder:
    builder = IndexBuilder()
    unused = iter(names)
    codebooks = 0
    for number, (shard, size, _) in enumerate(shards):
        path = folder / shard
        for location in walk_shard(path):
            where = Message("{file}, byte {offset}", file=path, offset=location.offset)
            sentence = decode_sentence(location.content, where)
            if codebooks and len(sentence.codes) != codebooks:
                raise ShardError(
                    "{where}: the sentence has {number} codebooks, the ones before it {other}.",
                    "Extract all recordings with the same codec and pack again.",
                    where=where,
                    number=len(sentence.codes),
                    other=codebooks,
                )
            codebooks = len(sentence.codes)
            entry = entry_of(location.speaker, sentence, location.content)
            builder.add(location.speaker, next(unused, ""), Place(number, location.offset), entry)
        if progress is not None:
            progress(size)
    if not len(builder):
        raise ShardError(
            "{folder} has shards but no sentences.", "Pack a data set that has some.", folder=folder
        )
    return builder


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
