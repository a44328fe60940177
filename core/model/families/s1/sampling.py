"""How the S1 family draws: nucleus, temperature, and a penalty on what the same row had shortly before."""

from __future__ import annotations

import torch
from torch import Tensor

from ...sampling import Recent, Sampling
from ..drawing import draw

PENALISED_FRAMES = 16
"""How far back the repetition penalty looks. Over a whole utterance it would forbid silence and vowels."""


class S1Rule:
    """See `SamplingRule`. A repeated entry's logit is divided (negative: multiplied) by the penalty."""

    window = PENALISED_FRAMES

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling

    def token(self, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:
        """See `SamplingRule.token`."""
        return self._draw(logits, random[:, 0], recent.frames[..., 0], recent)

    def code(self, codebook: int, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:
        """See `SamplingRule.code`."""
        return self._draw(logits, random, recent.frames[..., codebook + 1], recent)

    def _draw(self, logits: Tensor, random: Tensor, former: Tensor, recent: Recent) -> Tensor:
        """Return what is picked from logits `(R, entries)`, `former` `(R, W)` being less probable."""
        sampling = self._sampling
        if sampling.greedy:
            return logits.argmax(-1)
        logits = logits.float()
        if sampling.repetition_penalty is not None:
            repeated, penalty = logits.gather(1, former), sampling.repetition_penalty
            penalised = torch.where(repeated < 0, repeated * penalty, repeated / penalty)
            # A row has had something or nothing: where it has less than the window, its first stands again.
            logits = logits.scatter(1, former, torch.where(recent.numbers >= 0, penalised, repeated))
        return draw(logits, sampling.temperature, sampling.top_p, sampling.top_k, random)
