"""How the S2 family draws: only what may follow, and never long the same (formats-s2.md section 5)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ....text.tokenizer import Tokenizer
from ...sampling import Recent, Sampling
from ..drawing import draw

WINDOW = 10
"""Frames back in which a token counts as repeated."""
HOT_TEMPERATURE = 1.0
HOT_TOP_P = 0.9
"""How a token is drawn instead of a repeated one; the caller's top-k counts for it, too."""


class S2Rule:
    """See `SamplingRule`. The token is a semantic one or the end; one that repeats is drawn again, hotter."""

    window = WINDOW

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer) -> None:
        self._sampling = sampling
        self._hot = replace(sampling, temperature=HOT_TEMPERATURE, top_p=HOT_TOP_P)
        self._begin, self._end = tokenizer.semantic_begin_id, tokenizer.semantic_end_id
        self._stop = tokenizer.end_id

    def token(self, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:
        """See `SamplingRule.token`."""
        semantic = logits[:, self._begin : self._end + 1]
        possible = torch.cat([semantic, logits[:, self._stop : self._stop + 1]], dim=1)
        normal = self._draw_token(possible, self._sampling, random[:, 0])
        if self._sampling.greedy:
            return normal
        return self.unrepeated(normal, self._draw_token(possible, self._hot, random[:, 1]), recent)

    def code(self, codebook: int, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:  # noqa: ARG002
        """See `SamplingRule.code`."""
        return _draw(logits, self._sampling, random)

    def unrepeated(self, normal: Tensor, hot: Tensor, recent: Recent) -> Tensor:
        """Return `hot` where `normal` is a semantic token of the last frames, else `normal`; all `(R,)`.

        The very first frame does not count, as it does not in the reference.
        """
        same = (recent.frames[..., 0] == normal[:, None]) & (recent.numbers >= 1)
        semantic = (normal >= self._begin) & (normal <= self._end)
        return torch.where(semantic & same.any(1), hot, normal)

    def _draw_token(self, possible: Tensor, sampling: Sampling, random: Tensor) -> Tensor:
        """Return token ids `(R,)` drawn from the logits of the semantic tokens and, at last, of the end."""
        drawn = _draw(possible, sampling, random) + self._begin
        return torch.where(drawn > self._end, self._stop, drawn)


def _draw(logits: Tensor, sampling: Sampling, random: Tensor) -> Tensor:
    if sampling.greedy:
        return logits.argmax(-1)
    return draw(logits, sampling.temperature, sampling.top_p, sampling.top_k, random)
