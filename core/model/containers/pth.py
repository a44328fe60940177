"""A `torch.save` file: one file of weights, whose checksums follow what is replaced in it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from ...compute.archives import inspect_archive
from ...compute.weights import read_state_dict, state_dict_of, torch_reads
from ...errors import CheckpointError
from ...workers import worker_count
from .container import Container, Location

_BLOCK = 1 << 20
_LOCAL_HEADER, _CENTRAL_HEADER = 30, 46
_HAS_DESCRIPTOR = 0x08
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"


class PthContainer(Container):
    """A file that `torch.save` wrote of a state dict, bare or as `{"state_dict": …}`."""

    @cached_property
    def locations(self) -> Mapping[str, Location]:
        """See `Container.locations`; a tensor stored with gaps or transposed cannot be replaced in place."""
        return locate_tensors(self.path)

    def tensors(self) -> dict[str, Tensor]:
        """See `Container.tensors`."""
        return read_state_dict(self.path)

    def seal(self, file: Path, changed: Sequence[int]) -> None:
        """Correct the archive's checksums of the entries in which something was replaced."""
        with zipfile.ZipFile(file) as archive:
            entries, directory = archive.infolist(), archive.start_dir
        with file.open("r+b") as content:
            _correct_checksums(content, entries, directory, changed)


def locate_tensors(path: Path) -> dict[str, Location]:
    """Return where every tensor of a `torch.save` file lies; no data is read.

    Raises:
        CheckpointError: a tensor is stored with gaps or transposed, the file is laid out otherwise than
            torch.save does it, or it holds no state dict.
    """
    places = [storage.offset for storage in inspect_archive(path).values() if storage.size]
    addresses: set[int] = set()

    def note(storage: torch.UntypedStorage, _device: str) -> torch.UntypedStorage:
        if storage.nbytes():
            addresses.add(storage.data_ptr())
        return storage

    # Mapped, a tensor lies as far from the file's beginning as its address from that of the mapping. (Fake
    # tensors know their places without a mapping, but load torch's compiler: two seconds.)
    with torch_reads(path):
        content = torch.load(path, map_location=note, mmap=True, weights_only=True)  # type: ignore[arg-type]
    tensors = state_dict_of(content, path)
    scattered = [name for name, tensor in tensors.items() if not tensor.is_contiguous()]
    if scattered:
        raise CheckpointError(
            "{file} stores {name} as a view with gaps, which cannot be replaced in place.",
            "Load the file with torch, make its tensors contiguous, and save it again.",
            file=path,
            name=scattered[0],
        )
    begins = {address - place for address, place in zip(sorted(addresses), sorted(places), strict=False)}
    # One beginning for all: then torch reads from where the archive's own directory says.
    if places != sorted(places) or len(addresses) != len(places) or len(begins) > 1:
        raise CheckpointError(
            "{file} does not lay its tensors out as torch.save does.",
            "Load the file with torch and save it again.",
            file=path,
        )
    begin = max(begins, default=0)
    return {
        name: Location(path, tensor.data_ptr() - begin if tensor.numel() else 0, tensor.shape, tensor.dtype)
        for name, tensor in tensors.items()
    }


def _correct_checksums(
    file: IO[bytes], entries: Sequence[zipfile.ZipInfo], directory: int, changed: Sequence[int]
) -> None:
    """Correct the checksums beside the data and in the archive's directory, which begins at `directory`."""
    begins = [_data_begin(file, entry) for entry in entries]
    with ThreadPoolExecutor(worker_count(0), "checksum") as pool:
        checksums = {
            begin: pool.submit(_checksum, Path(file.name), begin, entry.file_size)
            for entry, begin in zip(entries, begins, strict=True)
            if any(begin <= offset < begin + entry.file_size for offset in changed)
        }
    place = directory
    for entry, begin in zip(entries, begins, strict=True):
        if begin in checksums:
            checksum = checksums[begin].result().to_bytes(4, "little")
            _write_at(file, place + 16, checksum)
            _write_at(file, _local_checksum(file, entry, begin), checksum)
        file.seek(place + 28)
        lengths = file.read(6)
        place += _CENTRAL_HEADER + sum(int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2, 4))


def _data_begin(file: IO[bytes], entry: zipfile.ZipInfo) -> int:
    file.seek(entry.header_offset + 26)
    lengths = file.read(4)
    name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
    return entry.header_offset + _LOCAL_HEADER + name + extra


def _local_checksum(file: IO[bytes], entry: zipfile.ZipInfo, begin: int) -> int:
    """Return where the checksum beside the data stands: in a descriptor behind it, or in its header."""
    if not entry.flag_bits & _HAS_DESCRIPTOR:
        return entry.header_offset + 14
    end = begin + entry.compress_size
    file.seek(end)
    signed = file.read(4) == _DESCRIPTOR_SIGNATURE
    return end + (4 if signed else 0)


def _checksum(path: Path, begin: int, size: int) -> int:
    checksum = 0
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        while size:
            block = file.read(min(size, _BLOCK))
            checksum = zlib.crc32(block, checksum)
            size -= len(block)
    return checksum


def _write_at(file: IO[bytes], place: int, content: bytes) -> None:
    file.seek(place)
    file.write(content)
