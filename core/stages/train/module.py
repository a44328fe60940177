"""One optimizer step: Lightning's module with manual optimization.

A step adds up the gradients of all its micro-batches, each divided by the counts of the *whole* step over
all processes: base losses by the labels of row 0, semantic losses by the codes. It is therefore the gradient
of the mean over the step, whatever the number of processes, the accumulation or the pieces a micro-batch
was cut into after an out of memory; a mean of micro-batch means would weigh clips by their company.

Dropout draws follow from (seed, epoch, micro-batch), so they are the same on any process.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from ...compute.weights import STATE_DICT
from ...config.settings import TrainSettings
from ...errors import TrainingError
from ...lora.injection import trainable_parameters
from ...messages import Message, joined
from ...model.dual_ar import DualAR
from ...randomness import seed_of
from .batches import StepBatch
from .data import SampleSource
from .loss import Losses, loss_sums
from .out_of_memory import MicroBatchSplit, update
from .sampler import MicroBatch
from .schedule import learning_rate

_DROPOUT = 5  # purpose of the draw
_SUMS = 6  # entries of `LossSums.detached`


@dataclass(frozen=True)
class StepOutcome:
    """What an optimizer step came to."""

    losses: Losses
    learning_rate: float
    gradient_norm: float


class TrainingModule(LightningModule):
    """Trains the trainable parameters of a model.

    Attributes:
        outcome: of the last step.
        last_checkpoint: newest complete checkpoint, named when a run must stop.
    """

    strict_loading = False  # checkpoints hold the trained parameters only

    def __init__(
        self,
        model: DualAR,
        settings: TrainSettings,
        total_steps: int | None,
        micro_batch_split: MicroBatchSplit,
        schedule_shift: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.micro_batch_split = micro_batch_split
        self.outcome: StepOutcome | None = None
        self.last_checkpoint: Path | None = None
        self._settings = settings
        self._total_steps = total_steps
        self._schedule_shift = schedule_shift

    def configure_optimizers(self) -> AdamW:
        """Return AdamW over the trainable parameters."""
        return AdamW(
            list(trainable_parameters(self.model).values()),
            lr=self._settings.learning_rate,
            betas=(0.9, 0.95),
            weight_decay=self._settings.weight_decay,
            fused=self.model.norm.weight.is_cuda,
        )

    def transfer_batch_to_device(
        self,
        batch: StepBatch,
        device: torch.device,  # noqa: ARG002 - the interface's
        dataloader_idx: int,  # noqa: ARG002
    ) -> StepBatch:
        """Return the step as it is: its micro-batches go to the device one at a time."""
        return batch

    def training_step(self, batch: StepBatch, batch_idx: int) -> None:  # noqa: ARG002
        """Compute one optimizer step.

        Raises:
            TrainingError: loss or gradient is not finite; the weights are as before the step.
            DeviceMemoryError: the memory does not suffice even for single clips, or for the update.
        """
        step = self.global_step
        optimizer = cast(AdamW, self.optimizers())
        bare = cast(AdamW, self.optimizers(use_pl_optimizer=False))
        parameters: list[Tensor] = [weight for group in bare.param_groups for weight in group["params"]]
        rate = learning_rate(self._settings, step, self._total_steps, self._schedule_shift)
        for group in optimizer.param_groups:
            group["lr"] = rate
        largest = max((len(part) for part in batch.batches), default=1)
        sums = self.micro_batch_split.attempt(
            lambda pieces: self._accumulate(batch, pieces, bare),
            largest,
            Message("step {step}", step=step + 1),
        )
        self._synchronise(parameters)
        sums = cast(Tensor, self.trainer.strategy.reduce(sums, reduce_op="sum"))
        losses = Losses.of(sums)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self._settings.gradient_clip))
        self._check_finite(losses, norm, step)
        update(bare, optimizer.step, Message("step {step}", step=step + 1), self._kept())
        optimizer.zero_grad()
        self.outcome = StepOutcome(losses, rate, norm)

    def _accumulate(self, step: StepBatch, pieces: int, optimizer: AdamW) -> Tensor:
        """Add up the gradients of this process's micro-batches; return the summed losses and counts."""
        optimizer.zero_grad()  # an attempt before may have left some
        plan, codebooks = step.plan, self.model.config.num_codebooks
        sums = torch.zeros(_SUMS, dtype=torch.float64, device=self.device)
        wrapped = self.trainer.strategy.model
        apart = (
            wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else contextlib.nullcontext()
        )
        with apart:
            for part, batch in zip(plan.micro_batches, step.batches, strict=True):
                torch.manual_seed(seed_of(_DROPOUT, self._settings.seed, part.epoch, part.number))
                for piece in batch.split(pieces):
                    piece = piece.to(self.device)
                    found = loss_sums(self.model, piece.tokens, piece.labels)
                    loss = found.base / plan.supervised
                    loss = loss + self._settings.semantic_loss_weight * found.semantic / (
                        plan.semantic * codebooks
                    )
                    # Distributed training averages over processes; the counts are of all of them.
                    self.manual_backward(loss * self.trainer.world_size)
                    sums += found.detached()
        return sums

    def _synchronise(self, parameters: Sequence[Tensor]) -> None:
        """Average the gradients over processes.

        It happens in a backward pass of its own, of a loss that is always 0: a process without a
        micro-batch takes part like the others, and an out of memory never leaves them waiting for each other.
        """
        if isinstance(self.trainer.strategy.model, DistributedDataParallel):
            self.manual_backward(torch.stack([(parameter * 0).sum() for parameter in parameters]).sum())

    def _check_finite(self, losses: Losses, norm: float, step: int) -> None:
        found = {
            Message("base loss"): losses.base,
            Message("semantic loss"): losses.semantic,
            Message("gradient norm"): norm,
        }
        wrong = [
            Message("the {name} is {value}", name=name, value=value)
            for name, value in found.items()
            if not math.isfinite(value)
        ]
        if wrong:
            raise TrainingError(
                "Training stopped at step {step}, before its update: {wrong}. {kept}",
                "Lower --learning-rate or --gradient-clip. With --precision bf16, try float32.",
                step=step + 1,
                wrong=joined(wrong, Message(" and ")),
                kept=self._kept(),
            )

    def _kept(self) -> Message:
        if self.last_checkpoint is None:
            return Message("No checkpoint was written yet.")
        return Message("The last good checkpoint is {file}.", file=self.last_checkpoint)

    def evaluate(self, plans: Sequence[MicroBatch], source: SampleSource) -> Tensor:
        """Return the summed losses and counts of micro-batches on this process, without dropout."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.trainer.precision_plugin.val_step_context():
                largest = max((len(plan.clips) for plan in plans), default=1)
                return self.micro_batch_split.attempt(
                    lambda pieces: self._evaluate(plans, source, pieces), largest, Message("the validation")
                )
        finally:
            self.model.train(was_training)

    def _evaluate(self, plans: Sequence[MicroBatch], source: SampleSource, pieces: int) -> Tensor:
        sums = torch.zeros(_SUMS, dtype=torch.float64, device=self.device)
        for plan in plans:
            for piece in source.batch(plan).split(pieces):
                piece = piece.to(self.device)
                sums += loss_sums(self.model, piece.tokens, piece.labels).detached()
        return sums

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep only what is trained."""
        kept = {f"model.{name}" for name in trainable_parameters(self.model)}
        checkpoint[STATE_DICT] = {
            name: tensor for name, tensor in checkpoint[STATE_DICT].items() if name in kept
        }
