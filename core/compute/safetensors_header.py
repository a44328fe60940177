"""Looks at a safetensors file before anything maps it: what it says of its tensors must be so.

Eight bytes hold the header's length, little-endian; the header is JSON, name → `dtype`, `shape` and
`data_offsets` (begin and end, counted from the header's end); then the tensors lie without gaps. One reader
for all uses, so that no two take different bytes for a tensor. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import CheckpointError, MalformedFileError
from ..messages import Message
from ..reading import open_regular, reading
from ..tables import parse_json

LARGEST_HEADER: Final = 16 << 20
"""Bytes. A published shard of hundreds of tensors has 40 kB."""
_MOST_TENSORS: Final = 1 << 16
_MOST_DIMENSIONS: Final = 8
_LENGTH_BYTES: Final = 8
METADATA: Final = "__metadata__"
ITEM_BYTES: Final = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of one number of every kind that is read; the 8-bit floats and packed kinds are not."""
_AGAIN = Message("Download or copy it again.")
_DISTRUST = Message("Do not trust this file: get the weights from where they were published.")


@dataclass(frozen=True)
class StoredTensor:
    """What a header says of a tensor.

    Attributes:
        offset: of its first byte in the file.
        dtype: a key of `ITEM_BYTES`.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def inspect_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by name, in the order in which they lie there.

    Raises:
        CheckpointError: missing, no regular file, cut short, or its header contradicts itself or the file.
        StorageError: the system refused to read it.
    """
    with open_regular(path, CheckpointError, _AGAIN) as file, reading(path, CheckpointError, _AGAIN):
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        begin = _LENGTH_BYTES + length
        if size < _LENGTH_BYTES or begin > size:
            raise CheckpointError("{file} is cut short or is not a safetensors file.", _AGAIN, file=path)
        if length > LARGEST_HEADER:
            raise CheckpointError(
                "The header of {file} has {length:,} bytes, more than any file of weights.",
                _DISTRUST,
                file=path,
                length=length,
            )
        content = file.read(length)
    try:
        header = parse_json(content, Message("The header of {file}", file=path), unique_keys=True)
    except MalformedFileError as error:
        raise CheckpointError(error.message, _AGAIN) from error
    if not isinstance(header, dict):
        raise CheckpointError("The header of {file} does not list tensors.", _AGAIN, file=path)
    header.pop(METADATA, None)
    if len(header) > _MOST_TENSORS:
        raise CheckpointError(
            "{file} lists {number:,} tensors, more than any file of weights.",
            _DISTRUST,
            file=path,
            number=len(header),
        )
    found = {name: _entry(path, name, value, begin) for name, value in header.items()}
    ordered = sorted(found.items(), key=lambda item: (item[1].offset, item[1].size))
    _check_places(path, ordered, begin, size)
    return dict(ordered)


def _entry(path: Path, name: str, value: Any, begin: int) -> StoredTensor:
    shown = name[:80]
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            "The header of {file} does not describe {tensor} as a tensor.", _AGAIN, file=path, tensor=shown
        )
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise CheckpointError(
            "{file} stores {tensor} as {dtype}, a kind of number that cannot be used.",
            "Get the weights in bfloat16, float16 or float32.",
            file=path,
            tensor=shown,
            dtype=repr(str(dtype)[:20]),
        )
    if not _are_counts(shape) or len(shape) > _MOST_DIMENSIONS or not _are_counts(offsets):
        raise CheckpointError(
            "The header of {file} gives {tensor} a shape or place that cannot be.",
            _AGAIN,
            file=path,
            tensor=shown,
        )
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * ITEM_BYTES[dtype]:
        raise CheckpointError(
            "The header of {file} gives {tensor} another number of bytes than its shape has.",
            _AGAIN,
            file=path,
            tensor=shown,
        )
    place = begin + offsets[0]
    if place % ITEM_BYTES[dtype]:
        raise CheckpointError(
            "{file} stores {tensor} at an odd place, where it cannot be mapped.",
            "Load the file with safetensors and save it again.",
            file=path,
            tensor=shown,
        )
    return StoredTensor(place, tuple(shape), dtype)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _check_places(path: Path, tensors: list[tuple[str, StoredTensor]], begin: int, size: int) -> None:
    """Refuse tensors that share bytes, leave gaps, or do not end where the file does."""
    place = begin
    for name, tensor in tensors:
        if tensor.offset < place:
            raise CheckpointError(
                "{file} lays {tensor} over another tensor.", _DISTRUST, file=path, tensor=name[:80]
            )
        if tensor.offset > place:
            raise CheckpointError(
                "{file} has bytes before {tensor} that belong to no tensor.",
                _AGAIN,
                file=path,
                tensor=name[:80],
            )
        place += tensor.size
    if place != size:
        what = (
            Message("is damaged: it is cut short")
            if place > size
            else Message("has bytes at its end that belong to no tensor")
        )
        raise CheckpointError("{file} {what}.", _AGAIN, file=path, what=what)
