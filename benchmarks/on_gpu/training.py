"""Training at the model's true shape, through the stage itself: speed, model FLOPs utilisation, memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from fishtune.core.config.presets import lora_preset
from fishtune.core.config.settings import TrainSettings
from fishtune.core.events import Event, Log, MemoryMeasured, Reporter, Step, Warned
from fishtune.core.model.families import read_configuration
from fishtune.core.stages.train.run import run
from fishtune.core.units import GIB

from .bench import Bench
from .cards import device_name, own_speed
from .flops import Work, peak_of, step_flops
from .inputs import sequence_length
from .running import Row


class Watch(Reporter):
    """Notes what training says, and ends it after a step.

    Attributes:
        moments: when each step was over (`time.perf_counter`).
        warnings: everything that was warned of.
        said: everything else that was said.
    """

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.moments: list[float] = []
        self.steps: list[Step] = []
        self.memory: MemoryMeasured | None = None
        self.warnings: list[str] = []
        self.said: list[str] = []
        self._last = last

    def emit(self, event: Event) -> None:
        """Take an event; after the last step's the run is left as it is: nothing more is to be seen."""
        if isinstance(event, Step):
            self.moments.append(time.perf_counter())
            self.steps.append(event)
            if event.step == self._last:
                raise Enough
        elif isinstance(event, MemoryMeasured):
            self.memory = event
        elif isinstance(event, Warned):
            self.warnings.append(event.message)
        elif isinstance(event, Log):
            self.said.append(event.message)


class Enough(Exception):  # noqa: N818 - nothing failed
    """Everything that was to be seen was seen."""


def train(settings: TrainSettings, watch: Watch) -> None:
    """Train until the run ends or `watch` has seen enough."""
    with contextlib.suppress(Enough):
        run(settings, watch)


def settings_of(bench: Bench, project: str, **changes: Any) -> TrainSettings:
    """Return settings of a run on the packed clips; every clip comes with a reference."""
    values: dict[str, Any] = {
        "project": project,
        "results": bench.work / "results",
        "base": bench.base,
        "protos": bench.protos,
        "device": bench.device,
        "batch_tokens": bench.sizes.batch_tokens,
        "max_length": bench.sizes.batch_tokens,
        "max_steps": bench.sizes.steps,
        "reference_probability": 1.0,
        "held_out": 0.0,
        "gate": False,  # the base is random: only what does not depend on its weights is checked
        "loggers": [],
    }
    return TrainSettings(**(values | changes))


def training_speed(bench: Bench, preset: str, checkpointing: str) -> Iterator[Row]:
    """Yield speed and memory of training with a preset and a way of checkpointing."""
    watch, began = Watch(last=bench.sizes.steps), time.perf_counter()
    project = f"speed-{preset}-{checkpointing}"
    train(settings_of(bench, project, lora_config=preset, checkpointing=checkpointing), watch)
    why_not = next((line for line in watch.said if "not compiled" in line), None)
    yield {
        "what": f"{preset}, {checkpointing}",
        **_speed(bench, preset, watch),
        **_memory(watch),
        "s before the first step": watch.moments[0] - began,
        "compiled": why_not is None,
        "why not": why_not,
    }


def step_work(bench: Bench) -> Work:
    """Return what every step computes: `inputs` makes clips of one length, so no micro-batch is padded."""
    length = sequence_length(bench)
    sequences = bench.sizes.batch_tokens // length
    return Work(
        lengths=[length] * sequences,
        supervised=sequences * (bench.sizes.frames + 1),
        frames=sequences * bench.sizes.frames,
    )


def _speed(bench: Bench, preset: str, watch: Watch) -> Row:
    work = step_work(bench)
    moments = watch.moments[bench.sizes.warm_up - 1 :]
    seconds = (moments[-1] - moments[0]) / (len(moments) - 1)
    flops = step_flops(read_configuration(bench.base).read_shape(), lora_preset(preset), work)
    peak, own = peak_of(device_name(bench)), own_speed(bench)
    return {
        "tokens per step": sum(work.lengths),
        "ms per step": seconds * 1000,
        "tokens/s": sum(work.lengths) / seconds,
        "model TFLOP/s": flops / seconds / 1e12,
        "MFU": flops / seconds / peak if peak else None,
        "of this card's own product": flops / seconds / own if own else None,
    }


def _memory(watch: Watch) -> Row:
    """Return the peak that the stage predicted and measured before its first step, and that of its run."""
    short = [warning for warning in watch.warnings if warning.startswith("Out of memory")]
    found = watch.memory
    if found is None or found.measured_bytes is None:
        return {"out of memory": len(short)}
    return {
        "predicted GiB": found.predicted_bytes / GIB,
        "measured GiB": found.measured_bytes / GIB,
        "measured/predicted": found.measured_bytes / found.predicted_bytes,
        "whole run GiB": (watch.steps[-1].memory_bytes or 0) / GIB,
        "out of memory": len(short),
    }
