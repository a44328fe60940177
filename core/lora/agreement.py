"""Whether two models compute the same: logits on fixed inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from ..model.dual_ar import DualAR
from ..text.prompts import IGNORED, PromptBuilder, Turn

_TEXT = "The quick brown fox."
_FRAMES = 8


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


def compute_logits(model: DualAR, prompts: PromptBuilder, versions: int = 1) -> list[Logits]:
    """Return the model's logits for one fixed sentence with fixed codes.

    Args:
        versions: how often the sentence stands in the batch, for a model in which each has weights of its
            own; of that many equal parts of every tensor's first dimension, the first is the first version's.

    Returns:
        Those of every version.
    """
    draw = np.random.default_rng(0)
    sizes = model.semantic_end_id - model.semantic_begin_id + 1
    codes = draw.integers(0, min(sizes, 1024), size=(model.config.num_codebooks, _FRAMES))
    sequence = prompts.training_sequence("inference", [], Turn(_TEXT, codes))
    length = min(sequence.tokens.shape[1], model.config.max_seq_len)
    device = model.rotary.device
    tokens = torch.from_numpy(sequence.tokens[:, :length]).to(device)
    labels = torch.from_numpy(sequence.labels[:, :length]).to(device)
    hidden_VTD = model.slow(tokens.expand(versions, -1, -1))
    semantic, supervised = model.is_semantic(labels[0]), labels[0] != IGNORED
    tokens_VNV = model.token_logits(hidden_VTD[:, supervised])
    first_NC = model.fast_input(hidden_VTD[:, semantic]).flatten(0, 1)
    codes_NKS = model.fast_logits(first_NC, labels[1:, semantic].T.repeat(versions, 1))
    parts = zip(tokens_VNV.cpu(), codes_NKS.cpu().chunk(versions), strict=True)
    return [Logits(*part) for part in parts]


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
