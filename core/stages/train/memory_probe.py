"""Before the first step: two real optimizer steps on the longest batch, and a validation batch.

They show the peak of the device's memory while nothing is at stake yet. Weights, random states and the
optimizer are as before afterwards.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from ...compute.devices import PeakMeter
from ...lora.injection import trainable_parameters
from ...messages import Message
from ...model.dual_ar import DualAR
from .batches import Batch
from .loss import loss_sums
from .out_of_memory import MicroBatchSplit

STEPS = 2
"""In the first the optimizer's state comes into being; the second runs beside it."""


def measure_peak(
    model: DualAR,
    optimizer: torch.optim.Optimizer,
    longest: Batch,
    validation: Batch | None,
    semantic_weight: float,
    accumulation: int,
    arithmetic: AbstractContextManager[object],
    micro_batch_split: MicroBatchSplit,
    meter: PeakMeter,
) -> int:
    """Return the peak in bytes of training on `longest` and validating on `validation`.

    Args:
        accumulation: micro-batches a step; two show what any number needs.
        optimizer: a fresh one over the trainable parameters; it is not to be used afterwards.
        arithmetic: entered around the model's computations; can be entered again.
        micro_batch_split: is told of an out of memory, so that training begins with what fits.

    Raises:
        DeviceMemoryError: the memory does not suffice even for single clips.
    """
    device = model.norm.weight.device
    kept = {name: value.detach().cpu().clone() for name, value in trainable_parameters(model).items()}
    was_training = model.training

    def work(count: int) -> int:
        optimizer.zero_grad()
        optimizer.state.clear()  # an attempt before may have ended in the midst of an update
        meter.reset()
        model.train()
        for _ in range(STEPS):
            for piece in min(accumulation, 2) * longest.split(count):
                piece = piece.to(device)
                with arithmetic:
                    sums = loss_sums(model, piece.tokens, piece.labels)
                    loss = (sums.base + semantic_weight * sums.semantic) / sums.supervised
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
        if validation is not None:
            model.eval()
            with torch.no_grad(), arithmetic:
                for piece in validation.split(count):
                    piece = piece.to(device)
                    loss_sums(model, piece.tokens, piece.labels)
        return meter.peak()

    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            return micro_batch_split.attempt(work, len(longest), Message("the trial of the longest batch"))
    finally:
        optimizer.zero_grad()
        optimizer.state.clear()
        model.train(was_training)
        with torch.no_grad():
            for name, value in trainable_parameters(model).items():
                value.copy_(kept[name])
