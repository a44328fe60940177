"""The weights' file format of the DualAR model: `model.pth` in a checkpoint directory.

State-dict names and layouts are known here and nowhere else (formats.md sections 1 and 2).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..compute.weights import load_strict, read_state_dict, refuse_not_finite, save_archive
from ..errors import CheckpointError
from ..text.tokenizer import Tokenizer
from .config import DualARConfig, read_config
from .dual_ar import DualAR

WEIGHTS_FILE = "model.pth"
_SPLIT_ATTENTION = re.compile(r"(.*\battention\.)w([qkv])\.(weight|bias)")


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor of the model lies in the file: the names whose rows, joined in order, make it up."""

    parts: tuple[str, ...]


def stored_tensors(names: Iterable[str]) -> dict[str, StoredTensor]:
    """Return for every tensor of the model which names of a file hold it.

    A `model.` prefix is taken off, names containing `audio_` are skipped, and `wq`, `wk`, `wv` together
    are `wqkv`.
    """
    found: dict[str, StoredTensor] = {}
    split: dict[str, dict[str, str]] = {}
    for name in names:
        if "audio_" in name:
            continue
        own = name.removeprefix("model.")
        part = _SPLIT_ATTENTION.fullmatch(own)
        if part:
            split.setdefault(f"{part[1]}wqkv.{part[3]}", {})[part[2]] = name
        else:
            found[own] = StoredTensor((name,))
    for own, parts in split.items():
        if parts.keys() == {"q", "k", "v"} and own not in found:
            found[own] = StoredTensor(tuple(parts[letter] for letter in "qkv"))
        else:  # an incomplete layout: let the strict load name what is there
            found |= {name.removeprefix("model."): StoredTensor((name,)) for name in parts.values()}
    return found


def normalised(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file under the model's own names; only split attention layouts are copied.

    Parts that do not fit together keep their names, for the strict load to list.
    """
    found: dict[str, Tensor] = {}
    for own, stored in stored_tensors(tensors).items():
        parts = {name: tensors[name] for name in stored.parts}
        if len(parts) == 1:
            found[own] = parts[stored.parts[0]]
        elif _fit_together(list(parts.values())):
            found[own] = torch.cat(list(parts.values()))
        else:
            found |= {name.removeprefix("model."): part for name, part in parts.items()}
    return found


def _fit_together(parts: Sequence[Tensor]) -> bool:
    first = parts[0]
    return all(
        part.dim() > 0 and part.shape[1:] == first.shape[1:] and part.dtype == first.dtype for part in parts
    )


def load_model(
    directory: Path,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    *,
    known_finite: bool = False,
) -> DualAR:
    """Return the model of a checkpoint directory, in evaluation mode.

    Args:
        dtype: of the weights; None = as stored, in which case weights on the CPU stay mapped from the file.
            Of weights that are stored in several, the one that holds them all.
        known_finite: the caller has seen that every weight is a number.

    Raises:
        CheckpointError: a file is missing or broken, weights, configuration and tokenizer do not fit, or a
            weight is infinite or not a number.
    """
    config = read_config(directory)
    tokenizer = Tokenizer.from_directory(directory)
    model = build_model(config, tokenizer, directory)
    file = directory / WEIGHTS_FILE
    load_strict(model, normalised(read_state_dict(file)), file)
    if not known_finite:
        refuse_not_finite(model.named_parameters(), file)
    dtypes = {weight.dtype for weight in model.parameters()}
    if dtype is None and len(dtypes) > 1:
        dtype = functools.reduce(torch.promote_types, dtypes)
    # Module by module, so that at most one weight exists twice.
    return model.to(device=device, dtype=dtype).eval()


def build_model(config: DualARConfig, tokenizer: Tokenizer, source: Path) -> DualAR:
    """Return the model without weights (they are on the meta device).

    Raises:
        CheckpointError: the tokenizer has more tokens than the model.
    """
    if tokenizer.size > config.vocab_size:
        raise CheckpointError(
            "Tokenizer and config.json of {source} do not fit: {size} tokens for a vocab_size of "
            "{vocab_size}.",
            "Both must come from the same model: download them again.",
            source=source,
            size=tokenizer.size,
            vocab_size=config.vocab_size,
        )
    # The default special tokens name 4096 codes; smaller codebooks have no embeddings for the rest.
    end = min(tokenizer.semantic_end_id, tokenizer.semantic_begin_id + config.codebook_size - 1)
    with torch.device("meta"):
        return DualAR(config, tokenizer.semantic_begin_id, end)


def save_model(model: DualAR, directory: Path) -> None:
    """Write the weights of `model` as `model.pth` of `directory`, atomically.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    save_archive(model.state_dict(), directory / WEIGHTS_FILE)
