"""The loss of a batch, without the logits of a batch.

Logits are computed only where a label is, and in pieces: a piece's logits, its loss and the gradients of that
come into being and go again before the next piece begins, so nothing of them waits for the backward pass, and
no head runs twice. The fast transformer is part of its pieces: what it keeps does not grow with the batch.
Values and gradients are those of the plain computation (formats.md section 2).

`B` batch, `T` columns, `K` codebooks, `N` positions, `D` channels, `V` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...compute.devices import send
from ...compute.exact import CrossEntropy, cross_entropy
from ...lora.injection import trainable_parameters
from ...model.dual_ar import DualAR
from ...text.prompts import IGNORED

LOGITS_PER_CHUNK = 2**25
"""Logits that exist at once: 128 MiB in float32, 215 positions of a vocabulary of 155,776."""
FRAMES_PER_PIECE = {"cuda": 512, "cpu": 64}
"""Frames that the fast transformer computes at once: 5,120 positions fill a GPU, 640 fit a CPU's cache."""


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
    """Return the summed losses of inputs and labels `(B, K+1, T)`.

    Args:
        labels: best on the CPU, wherever the model is: what is learnt is then picked without waiting for the
            device, which goes on with what it was given before.
    """
    config = model.config
    learnt = _Learnt.of(labels, model).to(tokens.device)
    hidden_ND = model.slow(tokens).flatten(0, 1)
    # What else than the hidden states leads to these losses; nothing of the slow stack does.
    behind = [child for name, child in model.named_children() if name != "layers"]
    parameters = [weight for child in behind for weight in trainable_parameters(child).values()]
    base = summed_cross_entropy(
        lambda hidden_ND, _: model.token_logits(hidden_ND),
        hidden_ND.index_select(0, learnt.positions),
        learnt.labels,
        max(1, LOGITS_PER_CHUNK // config.vocab_size),
        parameters,
        model.training_cross_entropy,
    )
    # Tensors without content stand for a GPU's.
    frames = FRAMES_PER_PIECE.get(tokens.device.type, FRAMES_PER_PIECE["cuda"])
    in_top_5 = torch.zeros((), dtype=torch.int64, device=tokens.device)

    def code_logits(hidden_ND: Tensor, codes_NK: Tensor) -> Tensor:
        nonlocal in_top_5
        logits_NKV = model.fast_logits(model.fast_input(hidden_ND), codes_NK)
        in_top_5 = in_top_5 + _in_top_5(logits_NKV.detach(), codes_NK)
        return logits_NKV

    semantic = summed_cross_entropy(
        code_logits,
        hidden_ND.index_select(0, learnt.semantic_positions),
        learnt.codes,
        max(1, min(frames, LOGITS_PER_CHUNK // (config.num_codebooks * config.codebook_size))),
        parameters,
        model.training_cross_entropy,
    )
    return LossSums(
        base=base,
        semantic=semantic,
        supervised=learnt.count(learnt.labels),
        codes=learnt.count(learnt.codes),
        in_top_5=in_top_5,
        rated=(learnt.codes != 0).sum(),
    )


@dataclass(frozen=True)
class _Learnt:
    """What labels say is to be learnt. Positions are those of the batch's rows one behind the other."""

    positions: Tensor
    """Where row 0 has a label, `(N)`."""
    labels: Tensor
    semantic_positions: Tensor
    """Where that is a semantic token, `(M)`."""
    codes: Tensor
    """Its codes, `(M, K)`."""

    @classmethod
    def of(cls, labels_BKT: Tensor, model: DualAR) -> _Learnt:
        """Return it, on the labels' device."""
        labels_N = labels_BKT[:, 0].flatten()
        positions = (labels_N != IGNORED).nonzero()[:, 0]
        semantic_positions = model.is_semantic(labels_N).nonzero()[:, 0]
        codes_NK = labels_BKT[:, 1:].transpose(1, 2).flatten(0, 1)[semantic_positions]
        return cls(positions, labels_N[positions], semantic_positions, codes_NK)

    def to(self, device: torch.device) -> _Learnt:
        """Return it on a device."""
        parts = (self.positions, self.labels, self.semantic_positions, self.codes)
        return _Learnt(*(send(part, device) for part in parts))

    @staticmethod
    def count(tensor: Tensor) -> Tensor:
        """Return how many numbers a tensor has, on its device."""
        return torch.full((), tensor.numel(), device=tensor.device)


def _in_top_5(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many labels that are not 0 have one of the five largest logits `(…, V)`.

    Labels of 0 are left out, as the reference's `top_5_accuracy` does.
    """
    own = logits.gather(-1, labels[..., None])
    return (((logits > own).sum(dim=-1) < 5) & (labels != 0)).sum()


def summed_cross_entropy(
    logits_of: Callable[[Tensor, Tensor], Tensor],
    hidden_ND: Tensor,
    labels: Tensor,
    rows: int,
    parameters: Iterable[Tensor],
    cross_entropy: CrossEntropy = cross_entropy,
) -> Tensor:
    """Return the sum of the cross-entropies of N positions, float32, piece by piece.

    Its gradient is computed here too; the backward pass only scales it.

    Args:
        logits_of: gives the logits `(n, …, V)` of hidden states `(n, D)` and labels `(n, …)`; runs once per
            piece.
        labels: `(N, …)`.
        rows: positions of a piece.
        parameters: what else than the hidden states may get a gradient.
        cross_entropy: `compute.exact.cross_entropy`, or a compiled one.
    """
    total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
    gradients = _Gradients(hidden_ND, parameters) if torch.is_grad_enabled() else None
    for first in range(0, len(hidden_ND), rows):
        place = slice(first, first + rows)
        hidden = hidden_ND[place]
        if gradients is not None:
            hidden = hidden.detach().requires_grad_(hidden_ND.requires_grad)
        logits = logits_of(hidden, labels[place])
        loss, to_logits = cross_entropy(logits.detach(), labels[place], logits.requires_grad)
        total = total + loss
        if gradients is not None and to_logits is not None:
            gradients.add(logits, to_logits, hidden, place)
    return total if gradients is None else gradients.attached_to(total)


class _Gradients:
    """Adds up the gradients of pieces; then hands them to autograd as those of the sum."""

    def __init__(self, hidden_ND: Tensor, parameters: Iterable[Tensor]) -> None:
        self._hidden_ND = hidden_ND
        self._to_hidden = torch.empty_like(hidden_ND) if hidden_ND.requires_grad else None
        self._parameters = list(parameters)  # from the first piece on those that have a part in it
        self._to_parameters: list[Tensor] = []
        self._begun = False

    def add(self, logits: Tensor, to_logits: Tensor, hidden: Tensor, place: slice) -> None:
        """Differentiate the piece of rows `place`, whose hidden states are the leaf `hidden`."""
        inputs = [*self._parameters, *([] if self._to_hidden is None else [hidden])]
        # Backward formulas take the types of the forward pass; autocast would convert once more.
        with nullcontext() if logits.is_meta else torch.autocast(logits.device.type, enabled=False):
            found = list(torch.autograd.grad(logits, inputs, to_logits, allow_unused=True))
        if self._to_hidden is not None:
            self._to_hidden[place] = found.pop()
        if not self._begun:
            self._begun = True
            pairs = [(p, g) for p, g in zip(self._parameters, found, strict=True) if g is not None]
            self._parameters, self._to_parameters = [p for p, _ in pairs], [g for _, g in pairs]
            return
        if found:
            torch._foreach_add_(self._to_parameters, found)

    def attached_to(self, total: Tensor) -> Tensor:
        """Return `total` with these gradients."""
        inputs, gradients = (self._parameters if self._begun else []), self._to_parameters
        if self._to_hidden is not None:
            inputs, gradients = [*inputs, self._hidden_ND], [*gradients, self._to_hidden]
        if not gradients:
            return total
        return _WithGradients.apply(total, gradients, *inputs)  # type: ignore[no-any-return]


class _WithGradients(torch.autograd.Function):
    """A value whose gradients are known; its backward pass, which may run once, scales them in place."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "a loss is differentiated once"
        torch._foreach_mul_(gradients, factor)
        return None, None, *gradients
