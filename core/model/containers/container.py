"""What every container can do: say which tensors it holds, map them, and replace them in a copy.

A merged model must have its base's container: the same files, names, order and dtypes. So the base's files
are copied as they are, and the bytes of changed tensors are replaced in the copy, row by row.
"""

from __future__ import annotations

import hashlib
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO

import torch
from torch import Tensor

from ...errors import CheckpointError
from ...reading import reading

_PIECE_NUMBERS = 1 << 18
"""Tensors are worked on in pieces of about this many numbers: a megabyte in float32, so that those that an
operation is about stay in a core's own cache."""


@dataclass(frozen=True)
class Location:
    """Where a tensor lies: row after row from `offset` of `file` on."""

    file: Path
    offset: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of one entry of the first dimension."""
        return self.shape[1:].numel() * self.dtype.itemsize


class Container(ABC):
    """The weights of one checkpoint directory. Making one reads nothing.

    Args:
        directory: the checkpoint directory.
        name: in it: the file of weights, or the index of several.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.path = directory / name
        """What messages name."""

    def of(self, directory: Path) -> Container:
        """Return the container of the same name in a copy of the directory."""
        return type(self)(directory, self.path.name)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """All files that make it up.

        Raises:
            CheckpointError: an index cannot be read.
        """
        return (self.path,)

    @cached_property
    @abstractmethod
    def locations(self) -> Mapping[str, Location]:
        """Where every tensor lies, by its name in the file; no tensor is read.

        Raises:
            CheckpointError: a file is missing, broken or hostile, or its tensors cannot be replaced in place.
            StorageError: the system refused to read it.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, mapped from the files: a page is read when it is first used.

        Raises:
            CheckpointError, StorageError: as for `locations`.
        """

    @abstractmethod
    def seal(self, file: Path, changed: Sequence[int]) -> None:
        """Make right what a file says of its content, after bytes at the offsets `changed` were replaced."""


def combined_sha256(hashes: Mapping[str, str]) -> str:
    """Return the hash of weights from those of their files by name: of one file, its own."""
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def row_slices(shape: Sequence[int]) -> Iterator[slice]:
    """Yield the rows of a tensor of this shape in pieces of about a megabyte.

    A number that is computed from a piece may depend on the piece's size in its last bits: whoever computes
    again what another computed takes the same pieces.
    """
    step = max(1, _PIECE_NUMBERS // max(1, math.prod(shape[1:])))
    for first in range(0, shape[0], step):
        yield slice(first, min(first + step, shape[0]))


def split_rows(
    locations: Mapping[str, Location], names: Sequence[str], first: int, count: int
) -> Iterator[tuple[str, int, slice]]:
    """Yield where `count` rows of a tensor of the model lie: stored tensor, first row in it, and which rows.

    Args:
        names: stored tensors that make up the tensor of the model, joined in this order (wq, wk, wv).
        first: row of that tensor at which the rows begin.
    """
    begin = 0
    for name in names:
        end = begin + locations[name].shape[0]
        low, high = max(first, begin), min(first + count, end)
        if low < high:
            yield name, low - begin, slice(low - first, high - first)
        begin = end


class _OpenFiles:
    """The files of a container, opened by every thread that needs them, when it does. Use as a context."""

    mode = "rb"

    def __init__(self, container: Container) -> None:
        self._container = container
        self.locations = container.locations
        self._opened: dict[tuple[int, Path], IO[bytes]] = {}
        self._closing = ExitStack()

    def _at(self, name: str, row: int) -> IO[bytes]:
        """Return this thread's file of tensor `name`, at one of its rows."""
        location = self.locations[name]
        key = threading.get_ident(), location.file
        file = self._opened.get(key)
        if file is None:
            file = self._closing.enter_context(location.file.open(self.mode))
            self._opened[key] = file
        file.seek(location.offset + row * location.row_bytes)
        return file


class WeightsReader(_OpenFiles):
    """Reads rows of tensors into memory of their own, unlike a mapped file."""

    def __enter__(self) -> WeightsReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def read_rows(self, names: Sequence[str], first: int, count: int) -> Tensor:
        """Return `count` rows from `first` on of the tensor that the stored tensors `names`, joined, make up.

        Raises:
            CheckpointError: the file has become shorter.
            StorageError: the system refused to read it.
        """
        location = self.locations[names[0]]
        rows = torch.empty(count, *location.shape[1:], dtype=location.dtype)
        for name, place, part in split_rows(self.locations, names, first, count):
            into = rows[part].flatten().view(torch.uint8).numpy().data
            with reading(self.locations[name].file, CheckpointError):
                if self._at(name, place).readinto(into) != len(into):  # type: ignore[attr-defined]
                    raise EOFError
        return rows


class StoredRows:
    """A tensor of the model that is read from its files row by row, as `rows[first:end]`."""

    def __init__(self, reader: WeightsReader, names: Sequence[str]) -> None:
        self._reader, self._names = reader, names
        parts = [reader.locations[name] for name in names]
        self.shape = torch.Size((sum(part.shape[0] for part in parts), *parts[0].shape[1:]))

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return a range of rows, or those whose numbers are given (N)."""
        if isinstance(rows, Tensor):
            return torch.cat([self[row : row + 1] for row in rows.tolist()])
        first, end, _ = rows.indices(self.shape[0])
        return self._reader.read_rows(self._names, first, end - first)


class WeightsEditor(_OpenFiles):
    """Replaces rows of tensors in place. Every file is whole and sealed when its context ends."""

    mode = "r+b"

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        self._changed: dict[Path, set[int]] = {}

    def __enter__(self) -> WeightsEditor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()
        if kind is None:
            for file, changed in self._changed.items():
                self._container.seal(file, sorted(changed))

    def write_rows(self, names: Sequence[str], first: int, rows: Tensor) -> None:
        """Replace rows from `first` on of what the stored tensors `names` make up, cast to their dtype."""
        for name, place, part in split_rows(self.locations, names, first, len(rows)):
            location = self.locations[name]
            cast = rows[part].to(location.dtype).contiguous()
            self._at(name, place).write(cast.flatten().view(torch.uint8).numpy().data)
            self._changed.setdefault(location.file, set()).add(location.offset)
