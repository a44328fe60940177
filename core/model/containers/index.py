"""The index of safetensors shards, `{"weight_map": {tensor: file}}`. Starts no torch: displays ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...errors import CheckpointError, MalformedFileError
from ...messages import Message
from ...tables import read_json

AGAIN = Message("Download the checkpoint again: the index and all of its shards.")
_MOST_SHARDS: Final = 1000
_LARGEST_INDEX: Final = 16 << 20
"""Bytes. A published index of 358 tensors has 33 kB."""


def read_weight_map(path: Path) -> dict[str, str]:
    """Return for every tensor the name of its shard, a file beside the index.

    Raises:
        CheckpointError: the index is missing, broken or hostile.
        StorageError: the system refused to read it.
    """
    try:
        content = read_json(path, _LARGEST_INDEX, unique_keys=True)
    except MalformedFileError as error:
        raise CheckpointError(error.message, AGAIN) from error
    found = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(v, str) for v in found.values()):
        raise CheckpointError("{file} does not say which tensor lies in which shard.", AGAIN, file=path)
    names = set(found.values())
    outside = sorted(name for name in names if not _is_file_name(name))
    if outside:
        raise CheckpointError(
            "{file} names {name}, which is not a shard beside it.",
            "Do not trust this file: get the weights from where they were published.",
            file=path,
            name=repr(outside[0][:80]),
        )
    if len(names) > _MOST_SHARDS:
        raise CheckpointError(
            "{file} names {number:,} shards, more than any model.", AGAIN, file=path, number=len(names)
        )
    return found


def _is_file_name(name: str) -> bool:
    return name.endswith(".safetensors") and Path(name).name == name and not set(name) & set("\\\0")
