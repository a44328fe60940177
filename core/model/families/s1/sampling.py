"""How the S1 family draws: nucleus, temperature, and a penalty on what the same row had shortly before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...sampling import Sampling
from ..drawing import draw

PENALISED_FRAMES = 16
"""How far back the repetition penalty looks. Over a whole utterance it would forbid silence and vowels."""


class S1Rule:
    """See `SamplingRule`. A repeated entry's logit is divided (negative: multiplied) by the penalty."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._random: torch.Generator | None = None
        self._recent: Tensor | None = None

    def token(self, logits: Tensor, frames: Sequence[Tensor]) -> Tensor:
        """See `SamplingRule.token`."""
        # Kept for the frame's codes, which are drawn next.
        self._recent = torch.stack(list(frames[-PENALISED_FRAMES:]), dim=1) if frames else None
        return self._draw(logits, None if self._recent is None else self._recent[0])

    def code(self, codebook: int, logits: Tensor, frames: Sequence[Tensor]) -> Tensor:  # noqa: ARG002
        """See `SamplingRule.code`."""
        return self._draw(logits, None if self._recent is None else self._recent[codebook + 1])

    def _draw(self, logits: Tensor, recent: Tensor | None) -> Tensor:
        """Return the index that is picked from logits `(entries,)`, as a tensor without dimensions."""
        sampling = self._sampling
        if sampling.greedy:
            return logits.argmax()
        if self._random is None:
            self._random = torch.Generator(logits.device).manual_seed(sampling.seed)
        logits = logits.float()
        if recent is not None and sampling.repetition_penalty is not None:
            repeated = logits[recent]
            penalty = sampling.repetition_penalty
            logits = logits.index_put(
                (recent,), torch.where(repeated < 0, repeated * penalty, repeated / penalty)
            )
        return draw(logits, sampling.temperature, sampling.top_p, sampling.top_k, self._random)
