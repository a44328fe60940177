"""How the S2 family draws: only what may follow, and never long the same (formats-s2.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ....text.tokenizer import Tokenizer
from ...sampling import Sampling
from ..drawing import draw

WINDOW = 10
"""Frames back in which a token counts as repeated."""
HOT_TEMPERATURE = 1.0
HOT_TOP_P = 0.9
"""How a token is drawn instead of a repeated one; the caller's top-k counts for it, too."""


class S2Rule:
    """See `SamplingRule`. The token is a semantic one or the end; one that repeats is drawn again, hotter."""

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer) -> None:
        self._sampling = sampling
        self._hot = replace(sampling, temperature=HOT_TEMPERATURE, top_p=HOT_TOP_P)
        self._begin, self._end = tokenizer.semantic_begin_id, tokenizer.semantic_end_id
        self._stop = tokenizer.end_id
        self._random: torch.Generator | None = None

    def token(self, logits: Tensor, frames: Sequence[Tensor]) -> Tensor:
        """See `SamplingRule.token`."""
        possible = self.possible(logits)
        normal = self._draw(possible, self._sampling)
        if self._sampling.greedy:
            return normal
        # Drawn in any case, so that what is drawn later does not depend on what repeats.
        return self.unrepeated(normal, self._draw(possible, self._hot), frames)

    def code(self, codebook: int, logits: Tensor, frames: Sequence[Tensor]) -> Tensor:  # noqa: ARG002
        """See `SamplingRule.code`."""
        return self._draw(logits, self._sampling)

    def possible(self, logits: Tensor) -> Tensor:
        """Return token logits `(V,)` with −∞ for all that is neither a semantic token nor the end."""
        kept = torch.full_like(logits, -torch.inf)
        kept[self._begin : self._end + 1] = logits[self._begin : self._end + 1]
        kept[self._stop] = logits[self._stop]
        return kept

    def unrepeated(self, normal: Tensor, hot: Tensor, frames: Sequence[Tensor]) -> Tensor:
        """Return `hot` where `normal` is a semantic token of the last frames, else `normal`.

        The very first frame does not count, as it does not in the reference.
        """
        recent = frames[1:][-WINDOW:]
        if not recent:
            return normal
        semantic = (normal >= self._begin) & (normal <= self._end)
        repeated = (torch.stack([frame[0] for frame in recent]) == normal).any()
        return torch.where(semantic & repeated, hot, normal)

    def _draw(self, logits: Tensor, sampling: Sampling) -> Tensor:
        if sampling.greedy:
            return logits.argmax()
        if self._random is None:
            self._random = torch.Generator(logits.device).manual_seed(sampling.seed)
        return draw(logits, sampling.temperature, sampling.top_p, sampling.top_k, self._random)
