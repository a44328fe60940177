"""Safetensors: one file, or shards with an index that says which tensor lies in which.

Nothing in these files is a checksum, so replacing bytes of a tensor leaves header and index as they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from ...compute.safetensors_header import inspect_safetensors
from ...errors import CheckpointError
from ...messages import first_of
from ...reading import open_regular, reading
from .container import Container, Location
from .index import AGAIN, read_weight_map

_DTYPES: Final = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
}
_LISTED = 8


class SafetensorsContainer(Container):
    """One safetensors file."""

    @cached_property
    def locations(self) -> Mapping[str, Location]:
        """See `Container.locations`."""
        return _locations(self.path)

    def tensors(self) -> dict[str, Tensor]:
        """See `Container.tensors`."""
        return _mapped(self.locations)

    def seal(self, file: Path, changed: Sequence[int]) -> None:
        """Nothing in the file speaks of its tensors' content."""


class ShardedContainer(SafetensorsContainer):
    """Safetensors shards and their index, `{"weight_map": {tensor: file}}`."""

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The index and its shards."""
        return (self.path, *(self.directory / name for name in sorted(set(self._weight_map.values()))))

    @cached_property
    def locations(self) -> Mapping[str, Location]:
        """See `Container.locations`.

        Raises:
            CheckpointError: also where index and shards contradict each other; names the tensors.
        """
        shards = {name: _locations(self.directory / name) for name in sorted(set(self._weight_map.values()))}
        lying = {tensor: name for name, tensors in shards.items() for tensor in tensors}
        wrong = sorted(
            {tensor for tensor in lying.keys() | self._weight_map.keys() if not self._agrees(tensor, lying)}
            | {tensor for name, tensors in shards.items() for tensor in tensors if lying[tensor] != name}
        )
        if wrong:
            raise CheckpointError(
                "{file} and its shards disagree on where tensors lie: {tensors}.",
                AGAIN,
                file=self.path,
                tensors=first_of([name[:80] for name in wrong], _LISTED),
            )
        return {tensor: place for tensors in shards.values() for tensor, place in tensors.items()}

    def _agrees(self, tensor: str, lying: Mapping[str, str]) -> bool:
        return self._weight_map.get(tensor) == lying.get(tensor)

    @cached_property
    def _weight_map(self) -> dict[str, str]:
        return read_weight_map(self.path)


def _locations(path: Path) -> dict[str, Location]:
    return {
        name: Location(path, tensor.offset, torch.Size(tensor.shape), _DTYPES[tensor.dtype])
        for name, tensor in inspect_safetensors(path).items()
    }


def _mapped(locations: Mapping[str, Location]) -> dict[str, Tensor]:
    contents = {file: _map_file(file) for file in {place.file for place in locations.values()}}
    return {name: _view(contents[place.file], place) for name, place in locations.items()}


def _map_file(path: Path) -> Tensor:
    """Return the bytes of a file; what is written to them stays in memory."""
    with open_regular(path, CheckpointError, AGAIN) as file, reading(path, CheckpointError, AGAIN):
        return torch.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), dtype=torch.uint8)


def _view(content: Tensor, place: Location) -> Tensor:
    size = place.shape.numel() * place.dtype.itemsize
    part = content[place.offset : place.offset + size]
    # Of no bytes a view of another type is not made.
    return part.view(place.dtype).view(place.shape) if size else torch.empty(place.shape, dtype=place.dtype)
