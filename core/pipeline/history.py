"""A run as all its jobs tell it: one history of losses and checkpoints, across stops and kills.

Each training job continues what the one before saved. What a job does again (steps after the last checkpoint
of a killed one) or gives up (those after the checkpoint that it resumes from) is no part of the history;
where it took the run up is a mark.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TypeVar

from ..config.run_files import checkpoint_step, list_checkpoints
from ..errors import FishtuneError
from ..events import CheckpointSaved, Step, Validation, decode_event
from ..jobs.follow import read_lines
from ..jobs.record import Job, Place, list_jobs
from ..judge.record import read_audition, read_run
from ..judge.results import AuditionCandidate, AuditionResult, CandidateKind
from ..judge.selection import Candidate, Recommendation, Yardsticks, recommend
from ..judge.votes import Preference, column_id, preferences, votes_of
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
        with_steps: whether every step is wanted; reading 100,000 of them takes a second.
    """
    history = RunHistory()
    for job in training_jobs(place):
        history.jobs.append(job.id)
        with contextlib.suppress(FishtuneError, OSError):  # one job that cannot be read hides no other
            _read_job(job, history, with_steps=with_steps)
    return history


def _read_job(job: Job, history: RunHistory, *, with_steps: bool) -> None:
    has_begun = False
    for line in read_lines(job.events_path):
        is_wanted_step = _STEP in line and (with_steps or not has_begun)
        if not is_wanted_step and not any(word in line for word in _WANTED):
            continue
        match decode_event(line):
            case Step() as event:
                if not has_begun:
                    has_begun = True
                    history.take_up(job, event)
                if with_steps:
                    history.steps[event.step] = event
            case CheckpointSaved() as event:
                history.saved[event.step] = event
            case Validation() as event:
                history.validations[event.step] = event


@dataclass(frozen=True)
class Choice:
    """What there is to choose from, what it is held against, and what is recommended."""

    candidates: list[Candidate]
    """The checkpoints on disk with what training and audition said about them, oldest step first."""
    against: Yardsticks
    recommendation: Recommendation | None
    """None where there is no checkpoint."""


def choose(place: Place) -> Choice:
    """Return the choice among the checkpoints of a run."""
    return choose_by(place, run_history(place, with_steps=False), read_run(place.folder))


def choose_by(place: Place, history: RunHistory, table: AuditionResult | None) -> Choice:
    """Return what `choose` does, from what was read."""
    columns = table.candidates if table else []
    heard = {
        each.step: each for each in columns if each.kind is CandidateKind.CHECKPOINT and each.strength == 1
    }
    voted = preferences(votes_of(place.folder))
    candidates = [
        _candidate(
            path,
            history,
            column := heard.get(checkpoint_step(path)),
            voted.get(column_id(place.project, column.name)) if column else None,
        )
        for path in list_checkpoints(place.folder)
    ]
    base = table.candidate(CandidateKind.BASE) if table else None
    own = table.candidate(CandidateKind.RECORDING) if table else None
    against = Yardsticks(
        base_loss=history.base_loss,
        base=base.measures if base else None,
        recordings=own.measures if own else None,
    )
    return Choice(candidates, against, recommend(candidates, against))


def recommended(place: Place) -> Recommendation | None:
    """Return which checkpoint of a run to merge, with the reason, or None if there is none."""
    return choose(place).recommendation


def _candidate(
    path: Path, history: RunHistory, column: AuditionCandidate | None, preference: Preference | None
) -> Candidate:
    step = checkpoint_step(path)
    saved, validation = history.saved.get(step), history.validations.get(step)
    try:
        status = path.stat()
        size, modified = status.st_size, status.st_mtime
    except OSError:
        size, modified = 0, 0.0
    passes = saved or validation
    audition = read_audition(path)
    return Candidate(
        step=step,
        path=path,
        bytes=saved.bytes if saved and saved.bytes else size,
        modified=modified,
        clip_passes=passes.clip_passes if passes else None,
        # Not what the event of the saving says: that of the version before may be of an earlier step.
        validation_loss=validation.loss if validation else None,
        top_5_accuracy=validation.top_5_accuracy if validation else None,
        healthy=audition.healthy if audition else None,
        measures=column.measures if column else None,
        preference=preference,
    )
