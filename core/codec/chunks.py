"""Convolutions over long sequences in pieces, so that memory does not grow with the length of a clip."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .layers import CausalConv1d, CausalTransposedConv1d

Stretch = Callable[[Tensor], Tensor]


def input_context(layers: nn.Module) -> int:
    """Return how many earlier inputs an output of these causal convolutions can see (rounded up).

    Counted along the longest path, in which the layers follow one another; skip connections are shorter.
    """
    context, inputs_a_position = 0.0, 1.0
    for layer in layers.modules():
        if isinstance(layer, CausalConv1d):
            context += layer.context * inputs_a_position
            inputs_a_position *= layer.stride
        elif isinstance(layer, CausalTransposedConv1d):
            context += layer.context * inputs_a_position
            inputs_a_position /= layer.stride
    return math.ceil(context)


def in_chunks(layers: Stretch, x: Tensor, *, chunk: int, context: int, unit: int = 1) -> Tensor:
    """Return `layers(x)` for a causal stack, computed chunk by chunk over time.

    Each chunk is computed together with `context` inputs before it, whose outputs are dropped; so the
    zero padding at the start of a chunk never reaches the outputs that are kept. Only the first chunk
    is kept from its start, where the padding is meant.

    Args:
        chunk: inputs a chunk, not counting the context.
        context: inputs before a chunk that its outputs see; see `input_context`.
        unit: inputs that make a whole number of outputs; chunk and context are rounded up to it.
    """
    length = x.shape[-1]
    chunk, context = (-(-size // unit) * unit for size in (chunk, context))
    if length <= chunk + context:
        return layers(x)
    pieces = []
    for start in range(0, length, chunk):
        begin = max(0, start - context)
        y = layers(x[..., begin : start + chunk])
        inputs = min(start + chunk, length) - begin
        pieces.append(y[..., (start - begin) * y.shape[-1] // inputs :])
    return torch.cat(pieces, dim=-1)
