"""From a checkpoint directory to a model in memory: strictly, safely, and without a second copy."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..compute.quantised import QuantisedLinear
from ..compute.weights import load_strict, refuse_not_finite
from ..config.settings import BasePrecision
from ..errors import CheckpointError
from ..text.tokenizer import Tokenizer
from .directory import ModelDirectory
from .dual_ar import DualAR
from .families.family import Family
from .shape import Shape
from .targets import quantised_modules


def own_tensors(family: Family, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a container under the model's own names; only those in parts are copied.

    Parts that do not fit together keep their names, for the strict load to list.
    """
    found: dict[str, Tensor] = {}
    for own, names in family.stored_names(stored).items():
        parts = {name: stored[name] for name in names}
        if len(parts) == 1:
            found[own] = parts[names[0]]
        elif _fit_together(list(parts.values())):
            found[own] = torch.cat(list(parts.values()))
        else:
            found |= parts
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
    base_precision: BasePrecision | None = None,
    known_finite: bool = False,
) -> DualAR:
    """Return the model of a checkpoint directory, in evaluation mode.

    Weights are taken in one after another, in the order of the files: what is in memory meanwhile is no more
    than one file, as far as it is mapped, and one weight twice.

    Args:
        dtype: of the weights; None = as stored, in which case weights on the CPU stay mapped from the file.
            Of weights that are stored in several, the one that holds them all.
        base_precision: of the slow stack's linear layers, which then cannot be trained themselves.
        known_finite: the caller has seen that every weight is a number.

    Raises:
        CheckpointError: a file is missing or broken, weights, configuration and tokenizer do not fit, or a
            weight is infinite or not a number.
        UsageError: the library for `base_precision` is not installed.
    """
    opened = ModelDirectory.open(directory)
    model = build_model(opened.shape, opened.tokenizer, directory)
    file = opened.container.path
    load_strict(model, own_tensors(opened.family, opened.container.tensors()), file)
    dtypes = {weight.dtype for weight in model.parameters()}
    if dtype is None and len(dtypes) > 1:
        dtype = functools.reduce(torch.promote_types, dtypes)
    for name in _in_file_order(model):
        layer = model.get_submodule(name)
        if not known_finite:
            refuse_not_finite(((f"{name}.{own}", weight) for own, weight in layer.named_parameters()), file)
        if base_precision is not None and quantised_modules([name]):
            quantise(model, name, base_precision, device)
        else:
            layer.to(device=device, dtype=dtype)
    return model.to(device=device, dtype=dtype).eval()


def _in_file_order(model: DualAR) -> list[str]:
    """Return the names of the layers that have weights, those of one file together.

    A file is let go of when the last of its weights has become memory of its own.
    """
    layers = {name: list(layer.parameters(recurse=False)) for name, layer in model.named_modules()}
    return sorted(
        (name for name, weights in layers.items() if weights), key=lambda name: layers[name][0].data_ptr()
    )


def quantise(
    model: nn.Module, name: str, precision: BasePrecision, device: torch.device | str | None = None
) -> None:
    """Put a quantised layer, made on a device, in the place of the linear layer `name`.

    Raises:
        UsageError: see `compute.quantised.require`.
    """
    layer = model.get_submodule(name).to(device)
    assert isinstance(layer, nn.Linear)
    model.set_submodule(name, QuantisedLinear(layer, precision))


def build_model(shape: Shape, tokenizer: Tokenizer, source: Path) -> DualAR:
    """Return the model without weights (they are on the meta device).

    Raises:
        CheckpointError: the tokenizer has more tokens than the model.
    """
    if tokenizer.size > shape.vocab_size:
        raise CheckpointError(
            "Tokenizer and configuration of {source} do not fit: {size} tokens for a vocab_size "
            "of {vocab_size}.",
            "Both must come from the same model: download them again.",
            source=source,
            size=tokenizer.size,
            vocab_size=shape.vocab_size,
        )
    # A tokenizer may name more codes than the codebooks have; the rest have no embeddings.
    end = min(tokenizer.semantic_end_id, tokenizer.semantic_begin_id + shape.codebook_size - 1)
    with torch.device("meta"):
        return DualAR(shape, tokenizer.semantic_begin_id, end)
