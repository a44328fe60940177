"""Writing S2 weights whole, for the demo, tests and benchmarks; merging replaces tensors in a copy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from ....files import atomic_path, write_json
from ...dual_ar import DualAR
from . import files
from .names import published_name

SHARD_BYTES = 5_000_000_000


def save_model(
    model: DualAR,
    directory: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    made: Callable[[str, Tensor], Tensor] | None = None,
) -> None:
    """Write the weights of `model` as the published ones are: in shards, with an index.

    Args:
        shard_bytes: a shard ends before the tensor that would make it larger.
        made: gives the weight to write for each of the model's, which may be on the meta device: one shard is
            in memory at a time.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    weights = dict(model.state_dict())
    shards: list[list[str]] = [[]]
    size = 0
    for name, weight in weights.items():
        if shards[-1] and size + weight.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += weight.nbytes
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        content = {
            published_name(name): made(name, weights[name]) if made else weights[name].detach()
            for name in names
        }
        with atomic_path(directory / file) as target:
            save_file(content, target, metadata={"format": "pt"})
            target.chmod((directory / files.CONFIG).stat().st_mode)  # the library makes it its owner's alone
        weight_map |= dict.fromkeys(content, file)
    metadata = {
        "total_parameters": sum(weight.numel() for weight in weights.values()),
        "total_size": sum(weight.nbytes for weight in weights.values()),
    }
    write_json(
        directory / files.INDEX, {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    )
