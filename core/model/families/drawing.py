"""How families draw from logits: the nucleus of the unscaled probabilities, then the temperature."""

from __future__ import annotations

import torch
from torch import Tensor

_COLDEST = 1e-5
"""Temperatures below count as this one."""


def draw_probabilities(logits: Tensor, temperature: float, top_p: float, top_k: int | None = None) -> Tensor:
    """Return the probabilities `(entries,)` of a draw from logits `(entries,)`, float32.

    Ordered by logit, an entry goes if its rank is `top_k` or more, or if the cumulative probability up to and
    including it exceeds `top_p`: the one that crosses the line goes, too. The first always stays. What stays
    is divided by the temperature (formats.md section 2, *Generation*; formats-s2.md section 5).
    """
    ordered, indices = logits.float().sort(descending=True)
    dropped = ordered.softmax(-1).cumsum(-1) > top_p
    if top_k is not None:
        dropped[top_k:] = True
    dropped[0] = False
    kept = (ordered / max(temperature, _COLDEST)).masked_fill(dropped, -torch.inf).softmax(-1)
    return torch.zeros_like(kept).index_put((indices,), kept)


def draw(
    logits: Tensor, temperature: float, top_p: float, top_k: int | None, random: torch.Generator
) -> Tensor:
    """Return an index drawn from logits `(entries,)`, without dimensions; see `draw_probabilities`."""
    probabilities = draw_probabilities(logits, temperature, top_p, top_k)
    return torch.multinomial(probabilities, 1, generator=random)[0]
