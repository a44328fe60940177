"""What a display knows about one job: its events, reduced to what is shown.

A thread feeds it; the screen takes what it needs under `lock`. No Textual here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Literal

from ..core.events import (
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    ItemFailed,
    Log,
    MemoryMeasured,
    Progress,
    Started,
    Step,
    Stopped,
    Validation,
    Warned,
)
from .series import Series

LossName = Literal["loss", "base_loss", "semantic_loss"]
LOSSES: tuple[LossName, ...] = ("loss", "base_loss", "semantic_loss")
_KEPT = 1000


class RunView:
    """The state of a job as its events tell it.

    Attributes:
        train, held_out: one series a loss over steps.
        passes_at, held_out_passes: the clip passes at the points of `train` and of `held_out`.
        progress: newest `Progress` of each task, in order of appearance.
        failures, warnings, notes: newest ones, at most 1000.
        end: the last event of the stage, None while it runs.
        loss: what is known of a job that is gone without a last event.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.started: Started | None = None
        self.progress: dict[str, Progress] = {}
        self.failures: deque[ItemFailed] = deque(maxlen=_KEPT)
        self.failed_items = 0
        self.warnings: deque[Warned] = deque(maxlen=_KEPT)
        self.notes: deque[Log] = deque(maxlen=_KEPT)
        self.memory: MemoryMeasured | None = None
        self.train: dict[LossName, Series] = {name: Series() for name in LOSSES}
        self.held_out: dict[LossName, Series] = {name: Series() for name in LOSSES}
        self.passes_at = Series()
        self.held_out_passes = Series()
        self.step: Step | None = None
        self.validation: Validation | None = None
        self.checkpoints: dict[int, CheckpointSaved] = {}
        self.end: Failed | Stopped | Finished | None = None
        self.changes = 0
        self.loss = ""

    def apply(self, events: Iterable[Event]) -> None:
        """Take events in their order."""
        with self.lock:
            for event in events:
                self._apply(event)
                self.changes += 1

    def _apply(self, event: Event) -> None:
        match event:
            case Step():
                self.step = event
                self.passes_at.add(event.step, event.clip_passes)
                for name, series in self.train.items():
                    series.add(event.step, getattr(event, name))
            case Progress():
                self.progress[event.task] = event
            case Log():
                self.notes.append(event)
            case Validation():
                self.validation = event
                self.held_out_passes.add(event.step, event.clip_passes)
                for name, series in self.held_out.items():
                    series.add(event.step, getattr(event, name))
            case CheckpointSaved():
                self.checkpoints[event.step] = event
            case ItemFailed():
                self.failures.append(event)
                self.failed_items += 1
            case Warned():
                self.warnings.append(event)
            case MemoryMeasured():
                self.memory = event
            case Started():
                # A resumed job writes a second `started`: what ended it before does not count any more.
                self.started = event
                self.end = None
            case Failed() | Stopped() | Finished():
                self.end = event

    @property
    def share(self) -> float | None:
        """How much of the work is done, 0 to 1, None where nobody can say."""
        if self.step is not None and self.step.total_steps:
            return min(self.step.step / self.step.total_steps, 1.0)
        for progress in reversed(self.progress.values()):
            if progress.total:
                return min(progress.done / progress.total, 1.0)
        return None
