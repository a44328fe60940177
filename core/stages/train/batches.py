"""Batches: token matrices of several samples side by side, padded on the right.

`B` batch, `K` codebooks, `T` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...compute.devices import send
from ...text.prompts import IGNORED, TrainingSequence
from .sampler import StepPlan


@dataclass(frozen=True)
class Batch:
    """Inputs and labels `(B, K+1, T)` int64.

    Padding is on the right: causal attention never sees it from a real column, and its labels carry no
    loss, so its content does not matter.
    """

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device) -> Batch:
        """Return the batch for a device: its labels stay where they are, as `loss.loss_sums` likes them."""
        return Batch(send(self.tokens, device), self.labels)

    def split(self, parts: int) -> list[Batch]:
        """Return the batch in at most `parts` pieces of like size, padded only as far as each needs."""
        rows = -(-len(self) // parts)
        pieces = zip(torch.split(self.tokens, rows), torch.split(self.labels, rows), strict=True)
        return [Batch(tokens, labels)._trimmed() for tokens, labels in pieces]

    def _trimmed(self) -> Batch:
        # The last label of a sample is its <|im_end|>; what lies behind it is padding.
        columns = (self.labels[:, 0] != IGNORED).any(dim=0).nonzero()
        width = int(columns[-1]) + 1 if len(columns) else self.tokens.shape[-1]
        return Batch(self.tokens[..., :width], self.labels[..., :width])


@dataclass(frozen=True)
class StepBatch:
    """What one process computes in one optimizer step: a batch for each micro-batch of its plan."""

    plan: StepPlan
    batches: tuple[Batch, ...]


def collate(sequences: Sequence[TrainingSequence]) -> Batch:
    """Return samples of different length as one batch."""
    rows = sequences[0].tokens.shape[0]
    width = max(sequence.tokens.shape[1] for sequence in sequences)
    tokens = torch.zeros(len(sequences), rows, width, dtype=torch.int64)
    labels = torch.full_like(tokens, IGNORED)
    for row, sequence in enumerate(sequences):
        length = sequence.tokens.shape[1]
        tokens[row, :, :length] = torch.from_numpy(sequence.tokens)
        labels[row, :, :length] = torch.from_numpy(sequence.labels)
    return Batch(tokens, labels)
