"""Looks at a `torch.save` archive before torch does: sizes before contents.

An archive of a few bytes may unpack to gigabytes, and torch reads some entries whole. So the archive's
directory is read first, then the list of tensors is followed with sizes in place of objects (`unpickling`).
No torch here.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from ..errors import CheckpointError
from ..messages import Message
from ..reading import open_regular, reading
from .unpickling import AGAIN, Instructions, damaged, hostile

_LARGEST_PICKLE: Final = 16 << 20
"""Bytes. A list of a thousand tensors has 200 kB."""
_LARGEST_NOTE: Final = 4096
"""Bytes of the other entries that torch reads whole: version, byte order, alignment, id."""
_NOTES = ("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
_MOST_ENTRIES: Final = 1 << 16
_END, _END_SIZE = b"PK\x05\x06", 22
_LOCATOR, _LOCATOR_SIZE = b"PK\x06\x07", 20
_END64, _END64_SIZE = b"PK\x06\x06", 56
_LOCAL, _LOCAL_SIZE = b"PK\x03\x04", 30


@dataclass(frozen=True)
class Storage:
    """Bytes of one or more tensors in an archive."""

    offset: int
    """In the file."""
    size: int
    """Bytes."""


def inspect_archive(path: Path) -> dict[str, Storage]:
    """Return where the storages lie that the list of tensors of a `torch.save` file names, in its order.

    Raises:
        CheckpointError: missing, no regular file, no `torch.save` archive, cut short, or made to exhaust
            memory or time; or it asks for more than tensors and plain containers.
        StorageError: the system refused to read it.
    """
    with open_regular(path, CheckpointError) as file, reading(path, CheckpointError, AGAIN):
        size = file.seek(0, 2)
        entries = _directory(path, file, size)
        content = _pickle(path, file, entries)
        keys = Instructions(path, entries).follow(content)
        return {key: _place(path, file, entries[f"data/{key}"]) for key in keys}


def _directory(path: Path, file: IO[bytes], size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the archive's entries by name, without the folder that they all lie in.

    Two readers of one archive may take different bytes for its directory. So it must lie where torch writes
    it, at the very end, and its names must be one each, also to a reader that ignores case.
    """
    count, begin = _end_of_directory(path, file, size)
    if count > _MOST_ENTRIES:
        raise hostile(
            Message("{file} has {count:,} entries, more than any file of weights.", file=path, count=count)
        )
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError) as error:
        raise damaged(path) from error
    entries = archive.infolist()
    if archive.start_dir != begin or len(entries) != count:
        raise damaged(path)
    names = [entry.filename.partition("/") for entry in entries]
    if len({name.casefold() for _, _, name in names}) < count or len({folder for folder, *_ in names}) > 1:
        raise hostile(
            Message("{file} has two entries of one name, or entries in different folders.", file=path)
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise hostile(
            Message(
                "{file} has compressed entries, which may unpack to any size; torch.save compresses nothing.",
                file=path,
            )
        )
    if any(entry.file_size != entry.compress_size or entry.flag_bits & 1 for entry in entries):
        raise damaged(path)
    if sum(entry.file_size for entry in entries) > size:
        raise hostile(Message("The entries of {file} together are larger than the file.", file=path))
    return {name: entry for (_, _, name), entry in zip(names, entries, strict=True)}


def _end_of_directory(path: Path, file: IO[bytes], size: int) -> tuple[int, int]:
    """Return how many entries the archive's directory has and where it begins."""
    end = size - _END_SIZE
    record = _read_at(file, end, _END_SIZE) if end >= 0 else b""
    if not record.startswith(_END) or record[20:22] != b"\0\0":
        raise damaged(path)
    count, length, begin = (int.from_bytes(record[a:b], "little") for a, b in ((10, 12), (12, 16), (16, 20)))
    locator = _read_at(file, end - _LOCATOR_SIZE, _LOCATOR_SIZE) if end >= _LOCATOR_SIZE else b""
    if locator.startswith(_LOCATOR):
        end = int.from_bytes(locator[8:16], "little")
        record = _read_at(file, end, _END64_SIZE) if end < size else b""
        if not record.startswith(_END64):
            raise damaged(path)
        count, length, begin = (
            int.from_bytes(record[a:b], "little") for a, b in ((32, 40), (40, 48), (48, 56))
        )
    if begin + length != end:
        raise damaged(path)
    return count, begin


def _read_at(file: IO[bytes], place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def _pickle(path: Path, file: IO[bytes], entries: dict[str, zipfile.ZipInfo]) -> bytes:
    if "data.pkl" not in entries or "constants.pkl" in entries:
        raise damaged(path)
    for name, note in entries.items():
        if name.casefold() in _NOTES and note.file_size > _LARGEST_NOTE:
            raise hostile(
                Message(
                    "The entry {name} of {file} has {size:,} bytes instead of a few.",
                    name=name,
                    file=path,
                    size=note.file_size,
                )
            )
    entry = entries["data.pkl"]
    if entry.file_size > _LARGEST_PICKLE:
        raise hostile(
            Message(
                "The list of tensors in {file} has {size:,} bytes, over {limit:,}.",
                file=path,
                size=entry.file_size,
                limit=_LARGEST_PICKLE,
            )
        )
    place = _place(path, file, entry)
    content = _read_at(file, place.offset, place.size)
    if len(content) != place.size or zlib.crc32(content) != entry.CRC:
        raise damaged(path)
    return content


def _place(path: Path, file: IO[bytes], entry: zipfile.ZipInfo) -> Storage:
    """Return where an entry's bytes lie: behind its own header, which has a length of its own."""
    header = _read_at(file, entry.header_offset, _LOCAL_SIZE)
    if len(header) < _LOCAL_SIZE or not header.startswith(_LOCAL):
        raise damaged(path)
    lengths = (int.from_bytes(header[a : a + 2], "little") for a in (26, 28))
    offset = entry.header_offset + _LOCAL_SIZE + sum(lengths)
    if offset + entry.file_size > file.seek(0, 2):
        raise damaged(path)
    return Storage(offset, entry.file_size)
