"""The training stage: `run(settings, reporter)`."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from pydantic import BaseModel

from ...compute.devices import PeakMeter, peak_meter
from ...compute.quantised import require
from ...config.presets import check_base_precision, lora_preset
from ...config.run_files import adapter_folder, checkpoint_folder, checkpoint_path
from ...config.settings import Checkpointing, TrainSettings
from ...errors import FishtuneError, StopRequested
from ...events import MemoryMeasured, Reporter
from ...files import sweep_temporary
from ...hardware.memory.estimate import Part
from ...hardware.memory.measured import MeasurementCache
from ...lora.injection import add_adapters, train_everything, trainable_parameters
from ...messages import Message
from ...model.base_hash import base_hash
from ...model.checkpoint import load_model
from ...model.directory import ModelDirectory
from ...model.dual_ar import DualAR
from ...model.shape import Shape
from ...units import format_count
from ..inputs import choose_checkpoint
from .branches import take_course
from .checkpointing import NOTHING_DONE, fitting_checkpointing, told_profiles, training_needs
from .checkpoints import (
    AtomicCheckpointIO,
    Identity,
    RunState,
    check_identity,
    read_run_state,
)
from .clips import epochs_of
from .compilation import compile_blocks, expects_compiling
from .data import PlannedSteps, load_data
from .device import PRECISION_NAMES, backend_of, device_of, precision_of
from .launch import Ranks, enter_group, find_ranks, other_ranks
from .loading import load_steps
from .logs import make_loggers, quiet_libraries
from .memory_probe import measure_peak
from .module import TrainingModule
from .older import carried_over
from .out_of_memory import MicroBatchSplit
from .preflight import check_set_up
from .resume import Horizon, Standing, describe_changes
from .run_callback import Ending, RunCallback
from .sampler import Coverage, Sampler, largest_of, validation_batches


class TrainResult(BaseModel):
    """What a run came to."""

    project: str
    step: int
    clip_passes: float
    checkpoint: Path
    adapter: Path | None
    """PEFT folder; None in full fine-tuning."""
    training_loss: float | None
    validation_loss: float | None
    best_step: int | None
    """Step of the lowest held-out loss; None without validation."""
    ended_by: Literal["max_steps", "epochs", "max_minutes", "early_stopping"]
    minutes: float


def run(settings: TrainSettings, reporter: Reporter) -> TrainResult:
    """Train, from the beginning or from the last checkpoint, until a limit is reached.

    Raises:
        StopRequested: it was asked to stop; the step was finished and saved.
        PreflightError: the set-up would train the wrong thing.
        TrainingError: a checkpoint of another kind of run, or a loss that is not finite.
        FishtuneError: data, base, preset or device cannot be used.
    """
    quiet_libraries()
    return _Run(settings, find_ranks(settings), reporter).train()


class _Run:
    """A run being put together; the parts are made in the order of `__init__`."""

    def __init__(self, settings: TrainSettings, ranks: Ranks, reporter: Reporter) -> None:
        self.settings, self.ranks, self.reporter = settings, ranks, reporter
        self.folder = settings.results / settings.project
        self.first = ranks.rank == 0
        self.device = device_of(settings, ranks)
        base = ModelDirectory.open(settings.base)
        self.preset = base.family.resolved(lora_preset(settings.lora_config))
        check_base_precision(self.preset, settings.base_precision)
        require(settings.base_precision)
        self.precision = precision_of(settings, self.device)
        reporter.phase("reading the packed data")
        self.data = load_data(settings, base, reporter)
        self.held_out = validation_batches(
            self.data.split.held_out, self.data.references, settings.batch_tokens
        )
        reporter.phase("checking the base")
        self.identity = Identity.of(
            settings, self.preset, base_hash(settings.base, reporter), self.data.fingerprint
        )
        if self.first:
            sweep_temporary(checkpoint_folder(self.folder))
        self.checkpoint = choose_checkpoint(settings, self.folder)
        self.state: RunState | None = None
        if self.checkpoint is not None:
            stored = read_run_state(self.checkpoint)
            self.state = carried_over(stored, self.data, base.shape, self.checkpoint, reporter)
            check_identity(self.identity, settings.batch_tokens, self.state, self.checkpoint, base)
        self.standing = Standing.of(self.state, settings)
        self.per_step = settings.accumulation * ranks.size
        whole = self.data.sampler(settings.batch_tokens, self.per_step, settings.seed)
        self.sampler = whole if self.standing.recut is None else self._rest()
        self.horizon = Horizon.of(self._epochs(), settings.max_steps, self.standing, self.sampler, whole)
        self.compiled = expects_compiling(self.device)
        self.checkpointing = self._checkpointing(base.shape)
        self.model = self._model()
        self.batch_split = MicroBatchSplit(reporter)
        self.module = TrainingModule(
            self.model,
            settings,
            self.horizon.total_steps,
            self.batch_split,
            self.horizon.schedule_shift,
        )
        self.callback = self._callback()

    def _rest(self) -> Sampler:
        data, settings = self.data, self.settings
        return Sampler(
            data.table,
            data.split.training,
            data.references,
            settings.batch_tokens,
            self.per_step,
            settings.seed,
            self.standing.recut,
        )

    def _epochs(self) -> float | None:
        """Return after how many epochs the run ends; None where another limit is set alone."""
        epochs = epochs_of(self.settings, self.data)
        if epochs is not None and self.settings.epochs is None:
            self.reporter.log(
                f"No limit was set: training ends at epoch {epochs:g} "
                f"(--epochs, --max-steps or --max-minutes choose otherwise)."
            )
        return epochs

    def _checkpointing(self, shape: Shape) -> Checkpointing:
        return fitting_checkpointing(
            shape,
            self.settings,
            self.preset,
            self.precision,
            largest_of(self.sampler.epoch(0)),
            self.device,
            self.reporter,
            compiled=self.compiled,
        )

    def _model(self) -> DualAR:
        full = self.preset.method == "full"
        dtype = torch.float32 if full else self.precision
        self.reporter.phase("loading the model")
        model = load_model(
            self.settings.base, dtype, self.device, base_precision=self.settings.base_precision
        )
        model.checkpointing = self.checkpointing
        if full:
            train_everything(model)
        else:
            add_adapters(model, self.preset, self.settings.seed)
        if self.device.type == "cuda":
            self.reporter.phase("compiling the blocks")
        expected = self.compiled
        self.compiled = compile_blocks(model.train(), self._arithmetic(), self.precision, self.reporter)
        if expected and not self.compiled:  # they keep more than was expected
            model.checkpointing = self.checkpointing = self._checkpointing(model.config)
        return model

    def _callback(self) -> RunCallback:
        seen = None if self.state is None else self.state.coverage.numpy().copy()
        callback = RunCallback(
            settings=self.settings,
            preset=self.preset,
            identity=self.identity,
            coverage=Coverage(self.data.split.training, seen),
            end=self.horizon.end,
            total_steps=self.horizon.total_steps,
            held_out=self.held_out[self.ranks.rank :: self.ranks.size],
            has_held_out=bool(self.held_out),
            source=self.data.source,
            reporter=self.reporter,
            first_rank=self.first,
            per_step=self.per_step,
        )
        if self.state is not None:
            callback.restore(self.state, self.standing)
        return callback

    def train(self) -> TrainResult:
        self._describe()
        began = time.monotonic()
        done = self._already_done()
        if done is not None:
            return self._result(done, began)
        self.reporter.check_stop(NOTHING_DONE)
        if self.first and self.state is None:
            self._preflight()
        meter = peak_meter(self.device) if self.first else None
        if meter is not None:
            self._probe_memory(meter)
        self.reporter.check_stop(NOTHING_DONE)
        steps = self.sampler.steps(self.standing.position, self.horizon.end)
        plans = PlannedSteps(steps, self.ranks.rank, self.ranks.size)
        loader = load_steps(self.data.source, plans, self.settings.num_workers)
        trainer = self._trainer()
        self.reporter.phase("preparing the first step")
        with other_ranks(self.ranks, self.settings, self.reporter):
            if self.first and self.state is not None and self.checkpoint is not None:
                self.checkpoint = take_course(self.folder, self.checkpoint, self.state.step, self.reporter)
            self.module.last_checkpoint = self.checkpoint
            enter_group(self.ranks, backend_of(self.device))
            trainer.fit(self.module, loader, ckpt_path=self.checkpoint)
        ending = self.callback.ending
        assert ending is not None
        if ending == "stop_requested":
            path = checkpoint_path(self.folder, trainer.global_step)
            raise StopRequested(
                "Step {step} is saved in {file}; starting again continues from there.",
                step=trainer.global_step,
                file=path,
            )
        return self._result(ending, began, trainer.global_step)

    def _already_done(self) -> Ending | None:
        if self.state is None:
            return None
        if self.settings.max_steps is not None and self.state.step >= self.settings.max_steps:
            return "max_steps"
        if self.horizon.end is not None and self.standing.position >= self.horizon.end:
            return "epochs"
        if self.held_out and self.callback.guard.exhausted(self.settings.early_stopping):
            return "early_stopping"
        return None

    def _result(self, ending: Ending, began: float, step: int | None = None) -> TrainResult:
        assert ending != "stop_requested"
        callback = self.callback
        if step is None:
            assert self.state is not None and self.checkpoint is not None
            step, path = self.state.step, self.checkpoint
            self.reporter.log(f"{path} already is at the end of this run; nothing is left to train.")
            if ending == "early_stopping":
                self.reporter.warn(
                    "Nothing was trained: this run stopped early at step {step}, as its held-out loss "
                    "has not improved since step {best_step}.",
                    "To train on nevertheless, raise --early-stopping or leave it out.",
                    step=step,
                    best_step=callback.guard.best_step,
                )
        else:
            path = checkpoint_path(self.folder, step)
        return TrainResult(
            project=self.settings.project,
            step=step,
            clip_passes=callback.coverage.passes,
            checkpoint=path,
            adapter=adapter_folder(path) if self.preset.method == "lora" else None,
            training_loss=callback.training_loss,
            validation_loss=callback.validation_loss,
            best_step=callback.guard.best_step or None,
            ended_by=ending,
            minutes=(time.monotonic() - began) / 60,
        )

    def _describe(self) -> None:
        split, settings = self.data.split, self.settings
        trained = sum(parameter.numel() for parameter in trainable_parameters(self.model).values())
        held_out = (
            Message("{number} held out", number=len(split.held_out))
            if len(split.held_out)
            else Message("none held out: overfitting cannot be seen")
        )
        self.reporter.log(
            f"{format_count(len(split.training), 'clip')} to train on, {held_out}. "
            f"{settings.lora_config} trains {trained:,} weights on {self.device}, "
            f"in {PRECISION_NAMES[self.precision]}."
        )
        if self.state is not None:
            self.reporter.log(f"Resuming from {self.checkpoint} at epoch {self.state.clip_passes:.1f}.")
            changes = describe_changes(self.state, settings, self.per_step)
            if changes is not None:
                self.reporter.warn(*changes)

    def _arithmetic(self) -> AbstractContextManager[object]:
        """Return what training computes in outside of Lightning; may be entered again and again."""
        if self.preset.method == "full" and self.precision == torch.bfloat16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _preflight(self) -> None:
        self.reporter.phase("checking the set-up")
        check_set_up(
            self.model,
            self.data.source,
            self.sampler.epoch(0)[0],
            self.settings.semantic_loss_weight,
            self._arithmetic(),
            self.precision,
            self.reporter,
            strict=self.settings.gate,
        )

    def _probe_memory(self, meter: PeakMeter) -> None:
        """Measure two steps on the largest micro-batch, and hold them against what was predicted."""
        self.reporter.phase("measuring two steps")
        largest = largest_of(self.sampler.epoch(0))
        measured = measure_peak(
            self.model,
            self.module.configure_optimizers(),
            self.data.source.batch(largest),
            self.data.source.batch(largest_of(self.held_out)) if self.held_out else None,
            self.settings.semantic_loss_weight,
            self.settings.accumulation,
            self._arithmetic(),
            self.batch_split,
            meter,
        )
        needs = training_needs(
            self.model.config,
            self.settings.model_copy(update={"checkpointing": self.checkpointing}),
            self.preset,
            self.precision,
            largest.columns,
            meter.device_name,
            told_profiles(self.reporter),
            compiled=self.compiled,
        )
        frames = int(self.data.table.frames[largest.clips].sum())
        try:
            predicted = needs.predicted(largest.tokens, frames)
        except FishtuneError as error:  # training does not need to know
            self.reporter.log(error.message)
            return
        self.reporter.emit(
            MemoryMeasured(
                predicted_bytes=predicted.reserved,
                measured_bytes=measured,
                device=meter.device_name,
                parts={part: size for part, size in predicted.parts.items() if part != Part.CONTEXT},
            )
        )
        if self.batch_split.count == 1:  # what was cut into pieces is not what was predicted
            MeasurementCache().record(needs.setting, predicted, measured)

    def _trainer(self) -> Trainer:
        settings, ranks = self.settings, self.ranks
        strategy: Any = "auto"
        if ranks.environment is not None:
            strategy = DDPStrategy(
                cluster_environment=ranks.environment,
                process_group_backend=backend_of(self.device),
                broadcast_buffers=False,
            )
        on_gpu = self.device.type == "cuda"
        single_gpu = [self.device.index or 0] if on_gpu and ranks.size == 1 else ranks.devices
        autocast = self.preset.method == "full" and self.precision == torch.bfloat16
        return Trainer(
            accelerator="gpu" if on_gpu else "cpu",
            devices=single_gpu,
            num_nodes=ranks.num_nodes,
            strategy=strategy,
            precision="bf16-mixed" if autocast else "32-true",
            max_epochs=-1,
            max_steps=-1 if settings.max_steps is None else settings.max_steps,
            logger=make_loggers(settings, self.folder, self.state.step if self.state else 0)
            if self.first
            else False,
            callbacks=[self.callback],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=self.folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
