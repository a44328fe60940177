"""Whether two models compute the same: logits on fixed inputs, in float32 whatever the weights are.

Weights are brought to float32 one at a time, and large ones piece by piece, so that comparing models of
true size needs no second copy of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..model.dual_ar import DualAR
from ..text.prompts import IGNORED, PromptBuilder, Turn
from .files import ModuleAdapter

_TEXT = "The quick brown fox jumps over the lazy dog."
_FRAMES = 16
_PIECE_BYTES = 1 << 24
"""Weights become float32 in pieces of about this size."""


@dataclass(frozen=True)
class Logits:
    """Logits of fixed inputs, float32: `tokens` (frames + 1, V) and `codes` (frames, K, S)."""

    tokens: Tensor
    codes: Tensor


class Agreement(BaseModel):
    """How far the logits of two models lie apart, over token and codebook logits together."""

    largest_difference: float
    relative_difference: float
    """Root mean square of the differences over that of the logits."""
    same_token: float
    """Share of columns whose most probable token is the same."""
    same_code: float
    """Share of codes whose most probable value is the same."""


def compute_logits(
    model: DualAR,
    prompts: PromptBuilder,
    *,
    changes: Mapping[str, ModuleAdapter] | None = None,
    head: Callable[[Tensor], Tensor] | None = None,
) -> Logits:
    """Return the model's logits for one fixed sentence with fixed codes.

    Args:
        changes: modules whose weights count as adapted: in float32, before any rounding.
        head: gives the token logits of slow hidden states in place of `model.token_logits`.
    """
    draw = np.random.default_rng(0)
    sizes = model.semantic_end_id - model.semantic_begin_id + 1
    codes = draw.integers(0, min(sizes, 1024), size=(model.config.num_codebooks, _FRAMES))
    sequence = prompts.training_sequence("inference", [], Turn(_TEXT, codes))
    length = min(sequence.tokens.shape[1], model.config.max_seq_len)
    tokens = torch.from_numpy(sequence.tokens[:, :length])
    labels = torch.from_numpy(sequence.labels[:, :length])
    changed = {id(model.get_submodule(name).weight): part for name, part in (changes or {}).items()}
    with torch.inference_mode(), _Float32Arithmetic(changed):
        hidden = model.slow(tokens[None])[0]
        semantic, supervised = model.is_semantic(labels[0]), labels[0] != IGNORED
        return Logits(
            tokens=(head or model.token_logits)(hidden[supervised]),
            codes=model.fast_logits(model.fast_input(hidden)[semantic], labels[1:, semantic].T),
        )


def compare_logits(found: Logits, expected: Logits) -> Agreement:
    """Return how far `found` lies from `expected`."""
    pairs = [(found.tokens, expected.tokens), (found.codes, expected.codes)]
    differences = [(one - other) for one, other in pairs]
    squares = sum(float(difference.square().sum()) for difference in differences)
    size = sum(float(other.square().sum()) for _, other in pairs)
    return Agreement(
        largest_difference=max(float(difference.abs().max()) for difference in differences),
        relative_difference=math.sqrt(squares / size),
        same_token=_same(found.tokens, expected.tokens),
        same_code=_same(found.codes, expected.codes),
    )


def captured_change(found: Logits, expected: Logits, base: Logits) -> float:
    """Return the slope of the change from `base` to `found` over that from `base` to `expected`.

    It is 1 where all of the change is there, whatever noise surrounds it, and where there is no change.
    """
    pairs = [(found.tokens, expected.tokens, base.tokens), (found.codes, expected.codes, base.codes)]
    product = sum(float(((one - plain) * (other - plain)).sum()) for one, other, plain in pairs)
    square = sum(float((other - plain).square().sum()) for _, other, plain in pairs)
    return product / square if square else 1.0


def _same(one: Tensor, other: Tensor) -> float:
    return float((one.argmax(-1) == other.argmax(-1)).float().mean())


class _Float32Arithmetic(TorchFunctionMode):
    """Computes linear layers and embeddings as if their weights were float32, and adapted where asked."""

    def __init__(self, changes: Mapping[int, ModuleAdapter]) -> None:
        super().__init__()
        self._changes = changes

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (F.linear, F.embedding):
            weight = args[1]
            change = self._changes.get(id(weight))
            if func is F.embedding and change is None:
                return func(*args, **kwargs).float()
            if change is not None or weight.dtype != torch.float32:
                pieces = _pieces(weight) if change is None else change.adapted(weight)
                if func is F.embedding:
                    return _embedding(args[0], pieces, weight.shape[1])
                bias = args[2] if len(args) > 2 else kwargs.get("bias")
                return _linear(args[0], pieces, weight.shape[0], bias)
        return func(*args, **kwargs)


def _pieces(weight: Tensor) -> Iterator[tuple[int, Tensor]]:
    step = max(1, _PIECE_BYTES // (4 * weight.shape[1]))
    for first in range(0, weight.shape[0], step):
        yield first, weight[first : first + step].float()


def _linear(
    x: Tensor, pieces: Iterable[tuple[int, Tensor]], out_features: int, bias: Tensor | None
) -> Tensor:
    # Results that are kept from piece to piece would lie between the pieces and keep their memory in use.
    result = torch.empty(*x.shape[:-1], out_features)
    for first, rows in pieces:
        result[..., first : first + len(rows)] = x.float() @ rows.T
    return result if bias is None else result + bias.float()


def _embedding(ids: Tensor, pieces: Iterable[tuple[int, Tensor]], dim: int) -> Tensor:
    result = torch.zeros(*ids.shape, dim)
    for first, rows in pieces:
        here = (ids >= first) & (ids < first + len(rows))
        result[here] = rows[ids[here] - first]
    return result
