"""What a display knows about one job: its events, reduced to what is shown.

Of a training it holds the whole run: curve, held-out values and checkpoints also of the jobs that this one
continues. A thread feeds it; the screen takes what it needs under `lock`. No Textual here.
"""

from __future__ import annotations

import math
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
    Phase,
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
_LARGEST = 1e15
"""No step, time or size comes near; what is above comes from a damaged file."""


class RunView:
    """The state of a job as its events tell it.

    Attributes:
        train, held_out: one series a loss over steps.
        passes_at, held_out_passes: the clip passes at the points of `train` and of `held_out`.
        resumed_at: the first steps of the jobs that continued the run.
        step, validation: the newest; of an earlier job until this one has got there.
        has_begun: whether this job itself has done a step.
        progress: newest `Progress` of each task, in order of appearance.
        failures, warnings, notes: newest ones, at most 1000.
        phase: what the job does before its first step; None where it counts or trains.
        best: step and loss of the lowest held-out loss, base not counted; None before the first.
        guard: what a guard of training said last, until the held-out loss improved since.
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
        self.resumed_at: list[int] = []
        self.has_begun = False
        self.step: Step | None = None
        self.validation: Validation | None = None
        self.base_loss: float | None = None
        self.phase: Phase | None = None
        self.guard: Warned | None = None
        self._guarded_at = 0
        self._records: list[tuple[int, float]] = []
        """Every held-out loss that was the lowest so far, with its step."""
        self._spent = 0.0
        self._last_time = 0.0
        self.checkpoints: dict[int, CheckpointSaved] = {}
        self.end: Failed | Stopped | Finished | None = None
        self.changes = 0
        self.loss = ""

    def next_job(self) -> None:
        """Begin with the job that continued the run: what only concerned the one before goes."""
        with self.lock:
            self._spent += self._elapsed_by(self._last_time)
            self.started = self.memory = self.end = self.phase = None
            self.progress = {}
            self.failures.clear()
            self.failed_items = 0
            self.warnings.clear()
            self.notes.clear()
            self.loss = ""
            self.has_begun = False
            self.changes += 1

    def apply(self, events: Iterable[Event]) -> None:
        """Take events in their order."""
        with self.lock:
            for event in events:
                if _is_sane(event):
                    self._last_time = event.time
                    self._apply(event)
                self.changes += 1

    def _apply(self, event: Event) -> None:
        match event:
            case Step():
                if not self.has_begun:
                    self._begin(event.step)
                self.step, self.phase = event, None
                if _can_be_drawn(event):
                    self.passes_at.add(event.step, event.clip_passes)
                    for name, series in self.train.items():
                        series.add(event.step, getattr(event, name))
            case Progress():
                self.progress[event.task] = event
            case Phase():
                self.phase = event
            case Log():
                self.notes.append(event)
            case Validation():
                self.validation = event
                if _can_be_drawn(event):
                    self._note_record(event)
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
                if event.guard:
                    self.guard = event
                    self._guarded_at = self.step.step if self.step is not None else 0
            case MemoryMeasured():
                self.memory = event
            case Started():
                # A resumed job writes a second `started`: what ended it before does not count any more.
                self.started = event
                self.end = self.phase = None
            case Failed() | Stopped() | Finished():
                self.end, self.phase = event, None

    def _begin(self, step: int) -> None:
        """Take note of a job's first step: what earlier jobs did from there on is done again."""
        self.has_begun = True
        for series in (*self.train.values(), *self.held_out.values(), self.passes_at, self.held_out_passes):
            series.cut(step)
        self.checkpoints = {at: saved for at, saved in self.checkpoints.items() if at < step}
        self.resumed_at = [at for at in self.resumed_at if at < step]
        if self.validation is not None and self.validation.step >= step:
            self.validation = None
        self._records = [record for record in self._records if record[0] < step]
        if self._guarded_at >= step:
            self.guard = None
        if self.train["loss"].points:
            self.resumed_at.append(step)

    def _note_record(self, event: Validation) -> None:
        if event.step == 0:
            self.base_loss = event.loss
        elif self.best is None or event.loss < self.best[1]:
            self._records.append((event.step, event.loss))
            self.guard = None

    @property
    def best(self) -> tuple[int, float] | None:
        """See the class."""
        return self._records[-1] if self._records else None

    @property
    def warning(self) -> Warned | None:
        """What is to be said of the job now: what its guard found, else its newest warning."""
        return self.guard or (self.warnings[-1] if self.warnings else None)

    def elapsed(self, now: float | None = None) -> float:
        """Return the seconds that the job and those that it continues have taken.

        Args:
            now: Unix time; None = the job is over, its last event counts.
        """
        return self._spent + self._elapsed_by(self._last_time if now is None else now)

    def _elapsed_by(self, now: float) -> float:
        return max(now - self.started.time, 0.0) if self.started is not None else 0.0

    @property
    def share(self) -> float | None:
        """How much of the work is done, 0 to 1, None where nobody can say."""
        if self.has_begun and self.step is not None and self.step.total_steps:
            return share_of(self.step.step, self.step.total_steps)
        for progress in reversed(self.progress.values()):
            share = share_of(progress.done, progress.total)
            if share is not None:
                return share
        return None


def share_of(done: float, total: float | None) -> float | None:
    """Return `done` of `total` as 0 to 1, None where that makes no sense."""
    if not total or not math.isfinite(total) or not math.isfinite(done) or total < 0:
        return None
    return min(max(done / total, 0.0), 1.0)


def _can_be_drawn(event: Step | Validation) -> bool:
    return all(abs(getattr(event, name)) < _LARGEST for name in LOSSES)  # False of NaN, too


def _is_sane(event: Event) -> bool:
    """Whether the numbers of an event can be counted and drawn with; a damaged file holds any."""
    match event:
        case Step() | Validation() | CheckpointSaved():
            total = event.total_steps if isinstance(event, Step) else None
            numbers: tuple[float | None, ...] = (event.step, event.clip_passes, total)
        case Progress():
            numbers = (event.done, event.total)
        case _:
            return True
    return all(number is None or abs(number) < _LARGEST for number in numbers)
