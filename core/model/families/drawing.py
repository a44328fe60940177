"""How families draw from logits: the nucleus of the unscaled probabilities, then the temperature."""

from __future__ import annotations

import torch
from torch import Tensor

_COLDEST = 1e-5
"""Temperatures below count as this one."""
_CANDIDATES = 1024
"""Entries among which a nucleus is looked for first: ordering a whole vocabulary takes long."""


def draw_probabilities(logits: Tensor, temperature: float, top_p: float, top_k: int | None = None) -> Tensor:
    """Return the probabilities `(entries,)` of a draw from logits `(entries,)`, float32.

    Ordered by logit, an entry goes if its rank is `top_k` or more, or if the cumulative probability up to and
    including it exceeds `top_p`: the one that crosses the line goes, too. The first always stays. What stays
    is divided by the temperature (formats.md section 2, *Generation*; formats-s2.md section 5).
    """
    probabilities, indices = _nucleus(logits, temperature, top_p, top_k)
    return torch.zeros(len(logits), device=logits.device).index_put((indices,), probabilities)


def draw(
    logits: Tensor, temperature: float, top_p: float, top_k: int | None, random: torch.Generator
) -> Tensor:
    """Return an index drawn from logits `(entries,)`, without dimensions; see `draw_probabilities`."""
    probabilities, indices = _nucleus(logits, temperature, top_p, top_k)
    return indices[torch.multinomial(probabilities, 1, generator=random)][0]


def _nucleus(logits: Tensor, temperature: float, top_p: float, top_k: int | None) -> tuple[Tensor, Tensor]:
    """Return probabilities and indices of the most probable entries; those that are dropped have 0."""
    ordered, indices, probabilities = _most_probable(logits.float(), top_p, top_k)
    dropped = probabilities.cumsum(-1) > top_p
    if top_k is not None:
        dropped[top_k:] = True
    dropped[0] = False
    kept = (ordered / max(temperature, _COLDEST)).masked_fill(dropped, -torch.inf).softmax(-1)
    return kept, indices


def _most_probable(logits: Tensor, top_p: float, top_k: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits in falling order, their indices and probabilities; those left out would be dropped."""
    if len(logits) > _CANDIDATES:
        ordered, indices = logits.topk(_CANDIDATES)
        probabilities = (ordered - logits.logsumexp(-1)).exp()
        if (top_k is not None and top_k <= _CANDIDATES) or probabilities.sum() > top_p:
            return ordered, indices, probabilities
    ordered, indices = logits.sort(descending=True)
    return ordered, indices, ordered.softmax(-1)
