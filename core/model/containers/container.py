"""What every container can do: say which tensors it holds, map them, and replace them in a copy.

A merged model must have its base's container: the same files, names, order and dtypes. So the base's files
are copied as they are, and the bytes of changed tensors are replaced in the copy, row by row.
"""

from __future__ import annotations

import hashlib
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


class _OpenFiles:
    """The files of a container, each opened when it is first needed. Use as a context."""

    mode = "rb"

    def __init__(self, container: Container) -> None:
        self._container = container
        self.locations = container.locations
        self._opened: dict[Path, IO[bytes]] = {}
        self._closing = ExitStack()

    def _at(self, name: str, row: int) -> IO[bytes]:
        """Return the file of tensor `name`, at one of its rows."""
        location = self.locations[name]
        file = self._opened.get(location.file)
        if file is None:
            file = self._closing.enter_context(location.file.open(self.mode))
            self._opened[location.file] = file
        file.seek(location.offset + row * location.row_bytes)
        return file


class WeightsReader(_OpenFiles):
    """Reads rows of tensors into memory of their own, unlike a mapped file."""

    def __enter__(self) -> WeightsReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def read_rows(self, name: str, first: int, count: int) -> Tensor:
        """Return `count` rows of tensor `name` from `first` on."""
        location = self.locations[name]
        content = bytearray(self._at(name, first).read(count * location.row_bytes))
        return torch.frombuffer(content, dtype=location.dtype).view(count, *location.shape[1:])


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

    def write_rows(self, name: str, first: int, rows: Tensor) -> None:
        """Replace the rows of tensor `name` from `first` on, cast to the dtype that the file has."""
        location = self.locations[name]
        cast = rows.to(location.dtype).contiguous()
        self._at(name, first).write(cast.flatten().view(torch.uint8).numpy().data)
        self._changed.setdefault(location.file, set()).add(location.offset)
