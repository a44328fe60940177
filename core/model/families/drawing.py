"""How families draw from logits: the nucleus of the unscaled probabilities, then the temperature.

Runs inside of CUDA graphs: on a GPU nothing here asks for a value, and shapes follow from shapes alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

_COLDEST = 1e-5
"""Temperatures below count as this one."""
_CANDIDATES = 1024
"""Entries among which a CPU looks for a nucleus first: ordering a whole vocabulary takes it long."""


def draw_probabilities(logits: Tensor, temperature: float, top_p: float, top_k: int | None = None) -> Tensor:
    """Return the probabilities `(…, entries)` of a draw from logits `(…, entries)`, float32.

    Ordered by logit, an entry goes if its rank is `top_k` or more, or if the cumulative probability up to and
    including it exceeds `top_p`: the one that crosses the line goes, too. The first always stays. What stays
    is divided by the temperature (formats.md section 2, *Generation*; formats-s2.md section 5).
    """
    scaled, indices = _nucleus(logits, temperature, top_p, top_k)
    return torch.zeros_like(logits, dtype=torch.float32).scatter(-1, indices, scaled.softmax(-1))


def draw(logits: Tensor, temperature: float, top_p: float, top_k: int | None, random: Tensor) -> Tensor:
    """Return indices `(…)` drawn from logits `(…, entries)`; see `draw_probabilities`.

    Args:
        random: for each draw a number `(…)`, float64, evenly from 0 to below 1. It is looked up in the
            cumulative probabilities, the most probable entry first.
    """
    scaled, indices = _nucleus(logits, temperature, top_p, top_k)
    # In float64, so that no entry is too small for its share, and a number below 1 stays below the sum.
    cumulative = scaled.exp().cumsum(-1, dtype=torch.float64)
    ranks = torch.searchsorted(cumulative, random[..., None] * cumulative[..., -1:], right=True)
    return indices.gather(-1, ranks)[..., 0]


def _nucleus(logits: Tensor, temperature: float, top_p: float, top_k: int | None) -> tuple[Tensor, Tensor]:
    """Return scaled logits, at most 0 and falling, and indices of the most probable entries.

    Those that are dropped have −∞, or are left out.
    """
    logits = logits.float()
    probabilities = logits.softmax(-1)
    ordered, indices = _most_probable(logits, probabilities, top_p, top_k)
    beyond = probabilities.gather(-1, indices).cumsum(-1) > top_p
    scaled = (ordered - ordered[..., :1]) / max(temperature, _COLDEST)
    scaled[..., 1:].masked_fill_(beyond[..., 1:], -torch.inf)
    return scaled, indices


def _most_probable(
    logits: Tensor, probabilities: Tensor, top_p: float, top_k: int | None
) -> tuple[Tensor, Tensor]:
    """Return logits in falling order and their indices; those left out would be dropped."""
    entries = logits.shape[-1]
    if top_k is not None:
        return logits.topk(min(top_k, entries))
    # To look whether these suffice would make a GPU wait, and it sorts a vocabulary in no time.
    if logits.device.type != "cpu" or entries <= _CANDIDATES:
        return logits.sort(descending=True)
    few, few_indices = logits.topk(_CANDIDATES)
    suffices = probabilities.gather(-1, few_indices).sum(-1, keepdim=True) > top_p
    if suffices.all():
        return few, few_indices
    ordered, indices = logits.sort(descending=True)
    # Equal logits may stand in another order here, but a row is not to depend on the others.
    indices[..., :_CANDIDATES] = torch.where(suffices, few_indices, indices[..., :_CANDIDATES])
    return ordered, indices
