"""The loss of a batch, without the logits of a batch.

Token logits are computed only where a label is, and all logits in chunks whose own memory is released
before the next chunk begins: the backward pass recomputes a chunk's logits from its hidden states
(non-reentrant checkpointing). The fast transformer runs over the semantic positions of the whole batch at
once. Values and gradients are those of the plain computation (formats.md section 2).

`B` batch, `T` columns, `K` codebooks, `N` positions, `D` channels, `V` classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...model.dual_ar import DualAR
from ...text.prompts import IGNORED

LOGITS_PER_CHUNK = 2**25
"""Logits that exist at once: 128 MiB in float32, 215 positions of a vocabulary of 155,776."""


@dataclass(frozen=True)
class LossSums:
    """Sums of a batch, to be divided by the counts of a whole optimizer step.

    `base` and `semantic` are differentiable sums of cross-entropies; the counts are int64 scalars.
    """

    base: Tensor
    semantic: Tensor
    supervised: Tensor
    """Labels of row 0."""
    codes: Tensor
    """Codes at semantic positions, K each."""
    in_top_5: Tensor
    """Codes whose logit is among the five largest, of those that `rated` counts."""
    rated: Tensor
    """Codes that are not 0."""

    def detached(self) -> Tensor:
        """Return all six as one float64 vector, in the order of the fields, for summing up."""
        values = (self.base, self.semantic, self.supervised, self.codes, self.in_top_5, self.rated)
        return torch.stack([value.detach().double() for value in values])


@dataclass(frozen=True)
class Losses:
    """Mean losses of a step or of the held-out clips, natural logarithms."""

    base: float
    semantic: float
    top_5_accuracy: float

    @classmethod
    def of(cls, sums: Tensor) -> Losses:
        """Return the means of what `LossSums.detached` gave, summed over batches and processes."""
        base, semantic, supervised, codes, in_top_5, rated = sums.tolist()
        return cls(
            base=base / max(supervised, 1),
            semantic=semantic / max(codes, 1),
            top_5_accuracy=in_top_5 / max(rated, 1),
        )

    def total(self, semantic_weight: float) -> float:
        """Return `base + semantic_weight · semantic`."""
        return self.base + semantic_weight * self.semantic


def loss_sums(model: DualAR, tokens: Tensor, labels: Tensor) -> LossSums:
    """Return the summed losses of inputs and labels `(B, K+1, T)`."""
    hidden_BTD = model.slow(tokens)
    labels_BT = labels[:, 0]
    supervised_BT = labels_BT != IGNORED
    base, _, _ = chunked_cross_entropy(
        model.token_logits, hidden_BTD[supervised_BT], labels_BT[supervised_BT]
    )
    semantic_BT = model.is_semantic(labels_BT)
    codes_NK = labels[:, 1:].transpose(1, 2)[semantic_BT]
    hidden_NKC = model.fast_hidden(model.fast_input(hidden_BTD[semantic_BT]), codes_NK)
    semantic, in_top_5, rated = chunked_cross_entropy(
        model.codebook_logits, hidden_NKC.flatten(0, 1), codes_NK.flatten()
    )
    return LossSums(
        base=base,
        semantic=semantic,
        supervised=supervised_BT.sum(),
        codes=torch.tensor(codes_NK.numel(), device=tokens.device),
        in_top_5=in_top_5,
        rated=rated,
    )


def chunked_cross_entropy(
    head: Callable[[Tensor], Tensor],
    hidden_ND: Tensor,
    labels_N: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the summed cross-entropy of `head(hidden)`, the labels in the top five, the labels that count.

    Args:
        head: gives the logits `(n, V)` of hidden states `(n, D)`; in the backward pass it runs again.

    The accuracy leaves out labels of 0, as the reference's `top_5_accuracy` does.
    """
    with torch.no_grad():
        width = head(hidden_ND[:0]).shape[-1]
    total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
    in_top_5 = torch.zeros((), dtype=torch.int64, device=hidden_ND.device)
    rated = torch.zeros_like(in_top_5)
    rows = max(1, LOGITS_PER_CHUNK // width)
    for hidden, labels in zip(torch.split(hidden_ND, rows), torch.split(labels_N, rows), strict=True):
        if torch.is_grad_enabled():
            loss, hits, counted = checkpoint(_cross_entropy, head, hidden, labels, use_reentrant=False)
        else:
            loss, hits, counted = _cross_entropy(head, hidden, labels)
        total, in_top_5, rated = total + loss, in_top_5 + hits, rated + counted
    return total, in_top_5, rated


def _cross_entropy(
    head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    logits = head(hidden).float()
    loss = F.cross_entropy(logits, labels, reduction="sum")
    with torch.no_grad():
        own = logits.gather(1, labels[:, None])
        hit = (logits > own).sum(dim=1) < 5
        counts = labels != 0
    return loss, (hit & counts).sum(), counts.sum()
