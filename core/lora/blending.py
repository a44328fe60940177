"""Checkpoints of one run blended: the mean of what they change, and how strongly it counts.

A change is what a checkpoint adds to the base: `B·A·scaling` of an adapter, `W' - W` of full fine-tuning. A
blend is a checkpoint like any other for whoever attaches or merges it.
`r` rank of an adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import UsageError
from ..messages import Message
from .files import Adapter, FullWeights, ModuleAdapter

Source = Adapter | FullWeights


def mean_of(sources: Sequence[Source]) -> Source:
    """Return what changes a base by the mean of the sources' changes; a single source is returned as it is.

    Adapters become one of rank `Σ r`, which is exactly the mean of the products: none is cut to a lower rank.
    DoRA keeps direction and magnitude apart: it is the mean of each.

    Raises:
        UsageError: they are not of one kind, or not checkpoints of one base and one preset.
    """
    first = sources[0]
    for other in sources[1:]:
        why = _difference(first, other)
        if why:
            raise UsageError(
                "{file} and {other} cannot be averaged: {reason}.",
                "Average checkpoints of one run.",
                file=first.file,
                other=other.file,
                reason=why,
            )
    adapters = [source for source in sources if isinstance(source, Adapter)]
    full = [source for source in sources if isinstance(source, FullWeights)]
    if len(sources) == 1:
        return first
    if full:
        tensors = {name: _mean([source.tensors[name] for source in full]) for name in full[0].tensors}
        return replace(full[0], tensors=tensors)
    modules = {
        name: _mean_adapter([adapter.modules[name] for adapter in adapters]) for name in adapters[0].modules
    }
    rank = max(part.a.shape[0] for part in modules.values())
    # The alpha that gives the modules' scalings with the ranks that they have now.
    alpha = adapters[0].alpha / (len(sources) ** 0.5 if adapters[0].use_rslora else 1)
    return replace(adapters[0], modules=modules, rank=rank, alpha=alpha)


def at_strength(source: Source, strength: float, weight_of: Callable[[str], Tensor]) -> Source:
    """Return what changes a base by `strength` times the source's change.

    At 0 that is nothing at all, and at 1 the source itself, so that both are exact.

    Args:
        strength: from 0, the base; above 1 the change is exaggerated.
        weight_of: gives a weight of the base by its name in the model, for DoRA and full fine-tuning. A DoRA
            adapter counts by as much of its direction and of its change in magnitude.
    """
    if strength == 1:
        return source
    if isinstance(source, FullWeights):
        tensors = {
            name: torch.lerp(weight_of(name).float(), tensor.float(), strength)
            for name, tensor in source.tensors.items()
            if strength
        }
        return replace(source, tensors=tensors)
    modules = {
        name: _adapter_at(part, strength, weight_of, f"{name}.weight")
        for name, part in source.modules.items()
        if strength
    }
    return replace(source, modules=modules, alpha=source.alpha * strength)


def _difference(one: Source, other: Source) -> Message | None:
    """Return why two sources are not checkpoints of one run, or None."""
    if one.shapes != other.shapes or type(one) is not type(other):
        return Message("they change different weights")
    if None not in (one.base_sha256, other.base_sha256) and one.base_sha256 != other.base_sha256:
        return Message("they were trained on different bases")
    if isinstance(one, Adapter) and isinstance(other, Adapter):
        if one.use_dora is not other.use_dora:
            return Message("only one of them uses DoRA")
        if one.base_precision != other.base_precision:
            return Message("they were trained over bases of different precision")
        if any(_scale(part) != _scale(other.modules[name]) for name, part in one.modules.items()):
            return Message("they were trained at different ranks or alphas")
    return None


def _scale(part: ModuleAdapter) -> tuple[int, float]:
    return part.a.shape[0], part.scaling


def _mean_adapter(parts: Sequence[ModuleAdapter]) -> ModuleAdapter:
    """Return the adapter of one module whose product is the mean of the parts', which have one scale."""
    magnitudes = [part.magnitude for part in parts if part.magnitude is not None]
    return replace(
        parts[0],
        a=torch.cat([part.a for part in parts]),
        b=torch.cat([part.b for part in parts], dim=1),
        scaling=parts[0].scaling / len(parts),
        magnitude=_mean(magnitudes) if magnitudes else None,
    )


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """Return the mean, float32."""
    total = tensors[0].float().clone()
    for tensor in tensors[1:]:
        total += tensor.float()
    return total / len(tensors)


def _adapter_at(
    part: ModuleAdapter, strength: float, weight_of: Callable[[str], Tensor], name: str
) -> ModuleAdapter:
    magnitude = part.magnitude
    if magnitude is not None:
        norms = torch.linalg.vector_norm(weight_of(name).float(), dim=0 if part.is_embedding else 1)
        magnitude = torch.lerp(norms, magnitude.float(), strength)
    return replace(part, scaling=part.scaling * strength, magnitude=magnitude)
