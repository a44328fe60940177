"""What a training will come to, in numbers and in a sentence, before it begins. Loads no array library.

Steps are the sampler's (`stages/train/plan.py` counts them); time is claimed only where the same preset was
measured with the same model on the same device; sizes are those of saved checkpoints, or follow from the
number of trained weights.
"""

from __future__ import annotations

import math
import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from ..config.settings import TrainOptions, TrainSettings
from ..errors import FishtuneError
from ..events import CheckpointSaved, MemoryMeasured, Step, decode_event
from ..jobs.find import places_in, recent_places
from ..jobs.follow import last_events, read_lines
from ..jobs.record import Job, Place
from ..messages import NOTHING, Message, joined, plural
from ..stages.train.planned import PlannedRun
from ..units import format_bytes, format_duration
from .history import training_jobs

Unit = Literal["epochs", "steps"]
CPU = ""
"""Name of the device where no GPU computes."""
_LAST_EVENTS = 200
"""Among which a run's newest step and checkpoint are looked for."""
_JOBS_LOOKED_AT = 100
_FEW_STEPS = 5
"""Fewer say nothing of what comes between steps."""
_SAME = ("lora_config", "precision", "checkpointing", "devices", "num_nodes")
"""Settings that a measured speed holds for; the batch hardly changes tokens per second."""
_BYTES_PER_WEIGHT = {"lora": 16, "full": 12}
"""In a checkpoint: a weight and its two moments in float32, and the adapter folder's copy of it."""


class Measured(BaseModel):
    """What an earlier run with the same preset, model and device showed."""

    run: str
    tokens_per_second: float
    checkpoint_bytes: int | None
    """Of one checkpoint, adapter folder included."""


class TrainingPlan(BaseModel):
    """What a training comes to, from its beginning to its end."""

    run: PlannedRun
    steps: int | None
    """Optimizer steps; None where only minutes limit it and no speed is known."""
    epochs: float | None
    seconds: float | None
    """None = never measured here."""
    checkpoints: int | None
    checkpoint_bytes: int | None
    """Of all that are kept."""
    device: str
    """Name of the GPU that it is for; empty = the CPU."""
    measured: Measured | None

    @classmethod
    def of(
        cls,
        run: PlannedRun,
        settings: TrainOptions,
        *,
        device: str = CPU,
        measured: Measured | None = None,
        trained: int | None = None,
        method: Literal["lora", "full"] = "lora",
    ) -> TrainingPlan:
        """Return the plan of a run.

        Args:
            trained: number of trained weights, for the size of checkpoints that nobody has measured.
        """
        per_step = run.tokens_per_step / measured.tokens_per_second if measured else None
        limit = None if settings.max_minutes is None else settings.max_minutes * 60
        steps, epochs = run.steps, run.epochs
        if limit is not None and per_step and (steps is None or steps * per_step > limit):
            steps = max(1, math.floor(limit / per_step))
            epochs = steps / run.steps_per_epoch
        seconds = steps * per_step if steps is not None and per_step else None
        saved = None if steps is None else math.ceil(steps / settings.checkpoint_every)
        kept = saved if saved is None or settings.keep_last is None else min(saved, settings.keep_last)
        each = measured.checkpoint_bytes if measured else None
        if each is None and trained:
            each = trained * _BYTES_PER_WEIGHT[method]
        return cls(
            run=run,
            steps=steps,
            epochs=epochs,
            seconds=seconds if seconds is not None or steps is not None else limit,
            checkpoints=kept,
            checkpoint_bytes=None if each is None or kept is None else each * kept,
            device=device,
            measured=measured,
        )

    @property
    def sentence(self) -> Message:
        """`250 epochs ≈ 1,240 steps ≈ 35 min on this GPU, 13 checkpoints, 12 MB`."""
        parts = []
        if self.epochs is not None:
            shown = round(self.epochs, 1 if self.epochs < 10 else 0)
            parts.append(plural(shown, "{number:g} epoch", "{number:g} epochs"))
        if self.steps is not None:
            parts.append(plural(self.steps, "{number} step", "{number:,} steps"))
        if self.seconds is not None:
            duration = _about(self.seconds)
            parts.append(
                Message(
                    "{duration} on this GPU" if self.device else "{duration} on this CPU", duration=duration
                )
            )
        saved = [joined(parts, " ≈ ")]
        if self.checkpoints is not None:
            saved.append(plural(self.checkpoints, "{number} checkpoint", "{number:,} checkpoints"))
        if self.checkpoint_bytes is not None:
            saved.append(Message(format_bytes(self.checkpoint_bytes)))
        return joined(saved, ", ")

    @property
    def clips(self) -> Message:
        """How many clips are trained on, held out, and left out as too long."""
        run = self.run
        held = Message("{number:,} held out" if run.held_out else "none held out", number=run.held_out)
        out = Message("{number:,} too long", number=run.left_out) if run.left_out else NOTHING
        trained = plural(run.clips, "{number} clip to train on", "{number:,} clips to train on")
        return joined([trained, held, out], ", ")

    @property
    def source(self) -> Message:
        """Where the time comes from, or why there is none."""
        if self.measured is None:
            return Message(
                "How long it takes is not known: nothing was trained with this preset and model on this "
                "device yet."
            )
        return Message(
            "By the speed of run {run}: {speed:,.0f} tokens/s.",
            run=self.measured.run,
            speed=self.measured.tokens_per_second,
        )


def _about(seconds: float) -> Message:
    """Return a duration to the precision that an estimate has: whole minutes from ten minutes on."""
    if 600 <= seconds < 3570:
        return Message("{minutes} min", minutes=round(seconds / 60))
    return format_duration(seconds)


def measured_before(settings: TrainSettings, device: str = CPU) -> Measured | None:
    """Return what the newest job showed that trained the same preset and model on the same device.

    This run's own jobs come first, then those beside it, then those of projects used lately.

    Args:
        device: name of the GPU; empty = the CPU of this machine.
    """
    own = Place(results=settings.results, project=settings.project)
    places = list(dict.fromkeys([own, *places_in(settings.results), *recent_places()]))
    jobs = [job for place in places for job in reversed(training_jobs(place))]
    for job in jobs[:_JOBS_LOOKED_AT]:
        if _is_alike(job, settings, device):
            found = _measured_by(job, device)
            if found is not None:
                return found
    return None


def _is_alike(job: Job, settings: TrainSettings, device: str) -> bool:
    there = job.record.settings
    defaults = TrainOptions.model_fields
    values = [(there.get(name, defaults[name].default), getattr(settings, name)) for name in _SAME]
    same_model = Path(str(there.get("base", ""))).name == settings.base.name
    # Any CPU is "the CPU"; a GPU has a name.
    here = device or (job.record.process is not None and job.record.process.host == socket.gethostname())
    return same_model and bool(here) and all(before == now for before, now in values)


def _measured_by(job: Job, device: str) -> Measured | None:
    try:
        first, name = _beginning(job)
        if first is None or name != device:
            return None
        events = last_events(job.events_path, _LAST_EVENTS)
    except (FishtuneError, OSError):
        return None
    speed = _speed(first, [event for event in events if isinstance(event, Step)])
    saved = next((event.bytes for event in reversed(events) if isinstance(event, CheckpointSaved)), None)
    if speed is None:
        return None
    return Measured(run=job.place.project, tokens_per_second=speed, checkpoint_bytes=saved or None)


def _speed(first: Step, steps: list[Step]) -> float | None:
    """Return the tokens per second of a job, held-out measurements and saving included.

    A step reports the speed of steps alone, and by its `eta` how long one takes; the clock tells how far
    apart they were.
    """
    newest = steps[-1] if steps else first
    speed = newest.tokens_per_second
    timed = next((step for step in reversed(steps) if step.eta and step.total_steps), None)
    count = newest.step - first.step
    if not speed or timed is None or timed.total_steps is None or timed.eta is None or count < _FEW_STEPS:
        return speed or None
    alone = timed.eta / (timed.total_steps - timed.step)
    apart = (newest.time - first.time) / count
    return speed * min(alone / apart, 1.0) if alone > 0 and apart > 0 else speed


def _beginning(job: Job) -> tuple[Step | None, str]:
    """Return a job's first step, and the name of the GPU that it measured before; empty for the CPU."""
    name = CPU
    for line in read_lines(job.events_path):
        if b'"kind":"step"' not in line and b'"kind":"memory"' not in line:
            continue
        match decode_event(line):
            case Step() as step:
                return step, name
            case MemoryMeasured(device=device):
                name = device
    return None, name


def prolonged(step: int, passes: float, more: float, unit: Unit, ended_by: str = "") -> dict[str, Any]:
    """Return the settings with which a run that is at its end continues for so much more.

    What was asked for becomes the only limit; None stands for no limit of that kind.

    Args:
        passes: epochs that are done.
        more: how much more, in `unit`.
        ended_by: what ended it (`TrainResult.ended_by`): a run that stopped early would at once do so again.
    """
    limits: dict[str, Any] = {"epochs": None, "max_steps": None, "max_minutes": None}
    if unit == "epochs":
        limits["epochs"] = round(passes + more, 3)
    else:
        limits["max_steps"] = step + math.ceil(more)
    return limits | ({"early_stopping": None} if ended_by == "early_stopping" else {})
