"""A run as all its jobs tell it: one history of losses and checkpoints, across stops and kills.

Each training job continues what the one before saved. What a job does again (steps after the last checkpoint
of a killed one) or gives up (those after the checkpoint that it resumes from) is no part of the history;
where it took the run up is a mark.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar

from ..errors import FishtuneError
from ..events import CheckpointSaved, Step, Validation, decode_event
from ..jobs.follow import read_lines
from ..jobs.record import Job, Place, list_jobs
from ..stages.registry import StageName

T = TypeVar("T")

_WANTED = (b'"validation"', b'"checkpoint"')
_STEP = b'"kind":"step"'


@dataclass(frozen=True)
class Mark:
    """Where a job took the run up again."""

    step: int
    """The last step before it."""
    job: str
    time: float
    """Unix time of its first step."""


@dataclass
class RunHistory:
    """One course of a run, by step."""

    steps: dict[int, Step] = field(default_factory=dict)
    validations: dict[int, Validation] = field(default_factory=dict)
    """Held-out values; those of step 0 are the base's."""
    saved: dict[int, CheckpointSaved] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    """Ids of the training jobs, oldest first."""

    @property
    def base_loss(self) -> float | None:
        """Held-out loss of the base, before the first step."""
        return self.validations[0].loss if 0 in self.validations else None

    def take_up(self, job: Job, first: Step) -> None:
        """Continue with a job that begins with a step: whatever came of it and later ones was given up."""
        self.steps, self.validations, self.saved = (
            _before(first.step, self.steps),
            _before(first.step, self.validations),
            _before(first.step, self.saved),
        )
        self.marks = [mark for mark in self.marks if mark.step < first.step - 1]
        if first.step > 1:
            self.marks.append(Mark(first.step - 1, job.id, first.time))


def _before(step: int, events: dict[int, T]) -> dict[int, T]:
    return {number: event for number, event in events.items() if number < step}


def training_jobs(place: Place) -> list[Job]:
    """Return the training jobs of a run, oldest first: each goes on from what the one before saved."""
    return [job for job in list_jobs(place) if job.record.stage == StageName.TRAIN]


def earlier_jobs(job: Job) -> list[Job]:
    """Return the jobs that a training job continues, oldest first."""
    return list(takewhile(lambda other: other.id != job.id, training_jobs(job.place)))


def run_history(place: Place, *, with_steps: bool = True) -> RunHistory:
    """Return the history of a run over all its jobs.

    Args:
        with_steps: whether every step is wanted, else the first and last of each job: reading 100,000 takes a
            second.
    """
    history = RunHistory()
    for job in training_jobs(place):
        history.jobs.append(job.id)
        with contextlib.suppress(FishtuneError, OSError):  # one job that cannot be read hides no other
            _read_job(job, history, with_steps=with_steps)
    return history


def _read_job(job: Job, history: RunHistory, *, with_steps: bool) -> None:
    has_begun, passed_over = False, b""
    for line in read_lines(job.events_path):
        if _STEP in line:
            if has_begun and not with_steps:
                passed_over = line
                continue
        elif not any(word in line for word in _WANTED):
            continue
        match decode_event(line):
            case Step() as event:
                if not has_begun:
                    has_begun = True
                    history.take_up(job, event)
                history.steps[event.step] = event
            case CheckpointSaved() as event:
                history.saved[event.step] = event
            case Validation() as event:
                history.validations[event.step] = event
    if passed_over and isinstance(last := decode_event(passed_over), Step):
        history.steps[last.step] = last
