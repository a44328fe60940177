"""What happens between optimizer steps: events, validation, guards, checkpoints, and when a run ends."""

# ruff: noqa: ARG002 - hooks have the signatures that Lightning calls
from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ...config.presets import LoraPreset
from ...config.run_files import adapter_folder, checkpoint_path
from ...config.settings import TrainSettings
from ...events import CheckpointSaved, Reporter, Step, Validation
from ...files import atomic_folder, size_of
from ...lora.files import TRAINING_STATE
from ...lora.injection import save_adapter
from .batches import StepBatch
from .branches import keep_newest
from .checkpoints import Identity, RunState
from .data import SampleSource
from .guards import PLATEAU_CHECKS, HeldOutGuard, PlateauGuard
from .loss import Losses
from .module import TrainingModule
from .resume import Standing
from .sampler import Coverage, MicroBatch, Position

Ending = Literal["max_steps", "epochs", "max_minutes", "early_stopping", "stop_requested"]
_RECENT_STEPS = 20  # over which speed is averaged


class RunCallback(Callback):
    """Lightning's callback of a run: reports, validates, guards and saves after every optimizer step.

    Args:
        identity: what a resumed run must share with this one.
        coverage: how often each training clip has been seen; counted on here.
        end: position of the last step's end; None = no such limit.
        total_steps: optimizer steps of the whole run; None = not known.
        held_out: micro-batches of the held-out clips that this process computes.
        has_held_out: whether any process has some.
        source: makes batches of them.
        first_rank: whether this process speaks and writes for all.
        per_step: micro-batches per optimizer step, over all processes.

    Attributes:
        ending: why the run ended; None while it runs.
    """

    def __init__(
        self,
        *,
        settings: TrainSettings,
        preset: LoraPreset,
        identity: Identity,
        coverage: Coverage,
        end: Position | None,
        total_steps: int | None,
        held_out: Sequence[MicroBatch],
        has_held_out: bool,
        source: SampleSource,
        reporter: Reporter,
        first_rank: bool,
        per_step: int,
    ) -> None:
        self._settings = settings
        self._preset = preset
        self._identity = identity
        self._end = end
        self._total_steps = total_steps
        self._held_out = held_out
        self._source = source
        self._has_held_out = has_held_out
        self._reporter = reporter
        self._first_rank = first_rank
        self._per_step = per_step
        self._run_folder = settings.results / settings.project
        self._standing = Standing()
        self._position = Position()
        self._speed: deque[tuple[float, int]] = deque(maxlen=_RECENT_STEPS)
        self._began = self._between_steps = time.monotonic()
        self._sigterm = signal.getsignal(signal.SIGTERM)
        self._saved_step = -1
        self.coverage = coverage
        self.guard = HeldOutGuard()
        self.plateau = PlateauGuard()
        self.validation_loss: float | None = None
        self.base_loss: float | None = None
        self._validated_step = -1
        self.training_loss: float | None = None
        self.ending: Ending | None = None

    def restore(self, state: RunState, standing: Standing) -> None:
        """Continue with the state of a checkpoint, and where the run stands by it."""
        self._standing, self._position = standing, standing.position
        self._saved_step = state.step
        self.guard = HeldOutGuard(**state.held_out_guard)
        self.plateau = PlateauGuard.from_state(state.plateau_guard)
        self.validation_loss = state.validation_loss
        self.base_loss = state.base_loss

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo Lightning's handling of SIGTERM, which would end the run unsaved, and measure the base."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)
        if self._has_held_out and self._standing.step == 0:
            assert isinstance(pl_module, TrainingModule)
            self._reporter.phase("measuring the base on the held-out clips")
            self.base_loss = self._measure_held_out(trainer, pl_module, 0)
        self._reporter.phase("the first step")
        self._began = self._between_steps = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: StepBatch,
        batch_idx: int,
    ) -> None:
        """Report the step, then validate, save and end the run where that is due."""
        assert isinstance(pl_module, TrainingModule)
        step = trainer.global_step
        self.coverage.add(batch.plan.clips)
        self._position = batch.plan.end
        self._report_step(trainer, pl_module, batch, step)
        self.ending = self._find_ending(trainer, step)
        at_an_interval = step % self._settings.validate_every == 0
        # Who asks for a stop waits for nothing more, and a run that goes on later has no extra validation.
        if self._has_held_out and (at_an_interval or self.ending in ("max_steps", "epochs")):
            self._validate(trainer, pl_module, step)
            if self.ending is None and self.guard.exhausted(self._settings.early_stopping):
                self.ending = "early_stopping"
        if at_an_interval and self.plateau.observe():
            since = step - PLATEAU_CHECKS * self._settings.validate_every
            self._reporter.guard(
                "The training loss has hardly fallen since step {since}.",
                "More steps will hardly help: listen to a checkpoint, or try a higher rank or learning rate.",
                since=since,
            )
        if step % self._settings.checkpoint_every == 0 or self.ending:
            self.save(trainer, pl_module, step)
        trainer.should_stop = self.ending is not None
        self._between_steps = time.monotonic()

    def _report_step(self, trainer: Trainer, module: TrainingModule, batch: StepBatch, step: int) -> None:
        outcome = module.outcome
        assert outcome is not None
        losses = outcome.losses
        self.training_loss = losses.total(self._settings.semantic_loss_weight)
        self.plateau.add(self.training_loss)
        tokens = sum(part.tokens for part in batch.plan.micro_batches) * trainer.world_size
        self._speed.append((time.monotonic() - self._between_steps, tokens))
        seconds = sum(each for each, _ in self._speed)
        left = None if self._total_steps is None else self._total_steps - step
        event = Step(
            step=step,
            total_steps=self._total_steps,
            clip_passes=self.coverage.passes,
            loss=self.training_loss,
            base_loss=losses.base,
            semantic_loss=losses.semantic,
            top_5_accuracy=losses.top_5_accuracy,
            learning_rate=outcome.learning_rate,
            gradient_norm=outcome.gradient_norm,
            tokens_per_second=sum(each for _, each in self._speed) / max(seconds, 1e-9),
            eta=None if left is None else left * seconds / len(self._speed),
            memory_bytes=(
                torch.cuda.max_memory_reserved(module.device) if module.device.type == "cuda" else None
            ),
        )
        self._reporter.emit(event)
        self._log(
            trainer,
            step,
            {
                "train/loss": event.loss,
                "train/base_loss": event.base_loss,
                "train/semantic_loss": event.semantic_loss,
                "train/top_5_accuracy": losses.top_5_accuracy,
                "train/gradient_norm": outcome.gradient_norm,
                "train/learning_rate": outcome.learning_rate,
                "train/clip_passes": self.coverage.passes,
            },
        )

    def _find_ending(self, trainer: Trainer, step: int) -> Ending | None:
        """Return why the run ends with this step; all processes agree."""
        if self._settings.max_steps is not None and step >= self._settings.max_steps:
            return "max_steps"
        if self._end is not None and self._position >= self._end:
            return "epochs"
        strategy = trainer.strategy
        if strategy.reduce_boolean_decision(self._reporter.stop_requested, all=False):
            return "stop_requested"
        limit = self._settings.max_minutes
        over = limit is not None and time.monotonic() - self._began >= limit * 60
        return "max_minutes" if strategy.reduce_boolean_decision(over, all=False) else None

    def _measure_held_out(self, trainer: Trainer, module: TrainingModule, step: int) -> float:
        """Report the held-out losses of a step, and return the one that counts."""
        sums = trainer.strategy.reduce(module.evaluate(self._held_out, self._source), reduce_op="sum")
        assert isinstance(sums, Tensor)
        losses = Losses.of(sums)
        loss = losses.total(self._settings.semantic_loss_weight)
        self._reporter.emit(
            Validation(
                step=step,
                clip_passes=self.coverage.passes,
                loss=loss,
                base_loss=losses.base,
                semantic_loss=losses.semantic,
                top_5_accuracy=losses.top_5_accuracy,
            )
        )
        self._log(
            trainer,
            step,
            {
                "held_out/loss": loss,
                "held_out/base_loss": losses.base,
                "held_out/semantic_loss": losses.semantic,
                "held_out/top_5_accuracy": losses.top_5_accuracy,
            },
        )
        return loss

    def _validate(self, trainer: Trainer, module: TrainingModule, step: int) -> None:
        loss = self._measure_held_out(trainer, module, step)
        self.validation_loss, self._validated_step = loss, step
        if self.guard.observe(step, loss):
            self._reporter.guard(
                "The held-out loss has not improved since step {best_step} ({best_loss:.3f}, now "
                "{loss:.3f}): the model is starting to overfit.",
                "Checkpoints near step {best_step} will do best on other texts; more clips help.",
                best_step=self.guard.best_step,
                best_loss=self.guard.best_loss,
                loss=loss,
            )

    def _log(self, trainer: Trainer, step: int, metrics: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step)

    def save(self, trainer: Trainer, module: TrainingModule, step: int) -> None:
        """Write the checkpoint of `step`: the adapter folder, then the file that completes it."""
        if step == self._saved_step:
            return
        path = checkpoint_path(self._run_folder, step)
        has_adapter = self._preset.method == "lora"
        if self._first_rank and has_adapter:
            with atomic_folder(adapter_folder(path)) as folder:
                save_adapter(module.model, self._settings.base, folder)
        trainer.save_checkpoint(path)
        self._saved_step = step
        module.last_checkpoint = path
        if not self._first_rank:
            return
        for logger in trainer.loggers:
            logger.save()
        self._reporter.emit(
            CheckpointSaved(
                step=step,
                path=str(path),
                adapter=str(adapter_folder(path)) if has_adapter else "",
                bytes=size_of(path) + (size_of(adapter_folder(path)) if has_adapter else 0),
                clip_passes=self.coverage.passes,
                validation_loss=self._loss_of(step),
            )
        )
        if self._settings.keep_last is not None:
            keep_newest(self._run_folder, self._settings.keep_last, path)

    def _loss_of(self, step: int) -> float | None:
        """Return the held-out loss of exactly that step, if it was measured."""
        return self.validation_loss if step == self._validated_step else None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the run's state into a Lightning checkpoint."""
        recut = self._standing.recut
        if recut is not None and recut.epoch != self._position.epoch:
            recut = None
        state = RunState(
            identity=self._identity,
            settings=self._settings.model_dump(mode="json"),
            preset=self._preset.model_dump(mode="json"),
            step=trainer.global_step,
            epoch=self._position.epoch,
            micro_batch=self._position.micro_batch,
            coverage=torch.from_numpy(self.coverage.counts.copy()),
            clip_passes=self.coverage.passes,
            held_out_guard=self.guard.state_dict(),
            plateau_guard=self.plateau.state_dict(),
            validation_loss=self._loss_of(trainer.global_step),
            base_loss=self.base_loss,
            per_step=self._per_step,
            left=torch.from_numpy(recut.left.copy()) if recut is not None else None,
        )
        checkpoint[TRAINING_STATE] = state.model_dump()
