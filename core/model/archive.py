"""Changing tensors inside a weights file without reading or rewriting the rest.

A merged model must have its base's container: the same wrapper, names, order, alignment and dtype. So the
base's file is copied as it is and the bytes of changed tensors are replaced; the archive's checksums follow.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ..compute.archives import inspect_archive
from ..compute.weights import state_dict_of, torch_reads
from ..errors import CheckpointError

_BLOCK = 1 << 24
_LOCAL_HEADER, _CENTRAL_HEADER = 30, 46
_HAS_DESCRIPTOR = 0x08
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"


@dataclass(frozen=True)
class Location:
    """Where a tensor lies in a file."""

    offset: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first dimension."""
        return self.shape[1:].numel() * self.dtype.itemsize


def locate_tensors(path: Path) -> dict[str, Location]:
    """Return where every tensor of a `torch.save` file lies; no data is read.

    Raises:
        CheckpointError: a tensor is stored with gaps or transposed, the file is laid out otherwise than
            torch.save does it, or it holds no state dict.
    """
    places = [storage.offset for storage in inspect_archive(path).values()]
    # With fake tensors torch.load reads no data and notes each storage's place in the file.
    with torch_reads(path), FakeTensorMode():
        tensors = state_dict_of(torch.load(path, weights_only=True), path)
    scattered = [name for name, tensor in tensors.items() if not tensor.is_contiguous()]
    if scattered:
        raise CheckpointError(
            "{file} stores {name} as a view with gaps, which cannot be replaced in place.",
            "Load the file with torch, make its tensors contiguous, and save it again.",
            file=path,
            name=scattered[0],
        )
    begins = {_begin(tensor) for tensor in tensors.values()}
    # torch reckons the places from the order in which it meets the storages; see that it reckoned well.
    if places != sorted(places) or not begins <= set(places):
        raise CheckpointError(
            "{file} does not lay its tensors out as torch.save does.",
            "Load the file with torch and save it again.",
            file=path,
        )
    return {name: Location(_offset(tensor), tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _begin(tensor: Tensor) -> int:
    storage: Any = tensor.untyped_storage()
    return int(storage._checkpoint_offset)


def _offset(tensor: Tensor) -> int:
    return _begin(tensor) + int(tensor.storage_offset()) * tensor.dtype.itemsize


def split_rows(
    locations: Mapping[str, Location], names: Sequence[str], first: int, rows: Tensor
) -> Iterator[tuple[str, int, Tensor]]:
    """Yield which rows of which stored tensor `rows` are, as name, first row and rows.

    Args:
        names: stored tensors that make up one tensor of the model, joined in this order (wq, wk, wv).
        first: row of that tensor at which `rows` begin.
    """
    begin = 0
    for name in names:
        count = locations[name].shape[0]
        low, high = max(first, begin), min(first + len(rows), begin + count)
        if low < high:
            yield name, low - begin, rows[low - first : high - first]
        begin += count


class WeightsReader:
    """Reads rows of tensors from a `torch.save` file into memory of their own, unlike a mapped file."""

    def __init__(self, path: Path) -> None:
        self.locations = locate_tensors(path)
        self._file = path.open("rb")

    def __enter__(self) -> WeightsReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read_rows(self, name: str, first: int, count: int) -> Tensor:
        """Return `count` rows of tensor `name` from `first` on."""
        location = self.locations[name]
        self._file.seek(location.offset + first * location.row_bytes)
        content = bytearray(self._file.read(count * location.row_bytes))
        return torch.frombuffer(content, dtype=location.dtype).view(count, *location.shape[1:])


class WeightsEditor:
    """Replaces rows of tensors in a `torch.save` file. Use as a context; checksums are right at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.locations = locate_tensors(path)
        self._file = path.open("r+b")
        self._changed: set[int] = set()

    def __enter__(self) -> WeightsEditor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._correct_checksums()

    def write_rows(self, name: str, first: int, rows: Tensor) -> None:
        """Replace the rows of tensor `name` from `first` on, cast to the dtype that the file has."""
        location = self.locations[name]
        cast = rows.to(location.dtype).contiguous()
        self._file.seek(location.offset + first * location.row_bytes)
        self._file.write(cast.flatten().view(torch.uint8).numpy().data)
        self._changed.add(location.offset)

    def _correct_checksums(self) -> None:
        self._file.flush()
        with zipfile.ZipFile(self._path) as archive:
            entries, directory = archive.infolist(), archive.start_dir
        place = directory
        for entry in entries:
            begin = self._data_begin(entry)
            if any(begin <= offset < begin + entry.file_size for offset in self._changed):
                checksum = self._checksum(begin, entry.file_size).to_bytes(4, "little")
                self._write_at(place + 16, checksum)
                self._write_at(*self._local_checksum(entry, begin, checksum))
            self._file.seek(place + 28)
            lengths = self._file.read(6)
            place += _CENTRAL_HEADER + sum(int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2, 4))

    def _data_begin(self, entry: zipfile.ZipInfo) -> int:
        self._file.seek(entry.header_offset + 26)
        lengths = self._file.read(4)
        name, extra = int.from_bytes(lengths[:2], "little"), int.from_bytes(lengths[2:], "little")
        return entry.header_offset + _LOCAL_HEADER + name + extra

    def _local_checksum(self, entry: zipfile.ZipInfo, begin: int, checksum: bytes) -> tuple[int, bytes]:
        """Return where the checksum beside the data stands: in a descriptor behind it, or in its header."""
        if not entry.flag_bits & _HAS_DESCRIPTOR:
            return entry.header_offset + 14, checksum
        end = begin + entry.compress_size
        self._file.seek(end)
        signed = self._file.read(4) == _DESCRIPTOR_SIGNATURE
        return end + (4 if signed else 0), checksum

    def _checksum(self, begin: int, size: int) -> int:
        self._file.seek(begin)
        checksum = 0
        while size:
            block = self._file.read(min(size, _BLOCK))
            checksum = zlib.crc32(block, checksum)
            size -= len(block)
        return checksum

    def _write_at(self, place: int, content: bytes) -> None:
        self._file.seek(place)
        self._file.write(content)
