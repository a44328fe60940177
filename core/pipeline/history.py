"""A run's training as its jobs tell it: checkpoints with their numbers, across stops and resumptions."""

from __future__ import annotations

import contextlib
from itertools import takewhile
from pathlib import Path

from ..config.run_files import checkpoint_step, list_checkpoints
from ..errors import FishtuneError
from ..events import CheckpointSaved, Step, Validation, decode_event
from ..jobs.follow import read_lines
from ..jobs.record import Job, Place, list_jobs
from ..judge.record import read_audition
from ..judge.selection import Candidate
from ..stages.registry import StageName

_WANTED = (b'"validation"', b'"checkpoint"')


def training_jobs(place: Place) -> list[Job]:
    """Return the training jobs of a run, oldest first: each goes on from what the one before saved."""
    return [job for job in list_jobs(place) if job.record.stage == StageName.TRAIN]


def earlier_jobs(job: Job) -> list[Job]:
    """Return the jobs that a training job continues, oldest first."""
    place = Place(results=job.folder.parents[2], project=job.folder.parents[1].name)
    return list(takewhile(lambda other: other.id != job.id, training_jobs(place)))


def checkpoint_candidates(place: Place) -> list[Candidate]:
    """Return the checkpoints on disk with what training said about them, oldest step first."""
    saved: dict[int, CheckpointSaved] = {}
    validations: dict[int, Validation] = {}
    for job in training_jobs(place):
        with contextlib.suppress(FishtuneError, OSError):  # one job that cannot be read hides no other
            has_begun = False
            for line in read_lines(job.events_path):
                is_first_step = not has_begun and b'"kind":"step"' in line
                if not is_first_step and not any(word in line for word in _WANTED):
                    continue  # most lines are steps; parsing them all would take a second for 100,000
                event = decode_event(line)
                if isinstance(event, Step) and not has_begun:
                    has_begun = True  # whatever came of this and later steps before was given up
                    saved = {step: known for step, known in saved.items() if step < event.step}
                    validations = {step: known for step, known in validations.items() if step < event.step}
                elif isinstance(event, CheckpointSaved):
                    saved[event.step] = event
                elif isinstance(event, Validation):
                    validations[event.step] = event
    return [
        _candidate(path, saved.get(checkpoint_step(path)), validations.get(checkpoint_step(path)))
        for path in list_checkpoints(place.folder)
    ]


def _candidate(path: Path, saved: CheckpointSaved | None, validation: Validation | None) -> Candidate:
    try:
        status = path.stat()
        size, modified = status.st_size, status.st_mtime
    except OSError:
        size, modified = 0, 0.0
    passes = saved or validation
    audition = read_audition(path)
    return Candidate(
        step=checkpoint_step(path),
        path=path,
        bytes=saved.bytes if saved and saved.bytes else size,
        modified=modified,
        clip_passes=passes.clip_passes if passes else None,
        # Not what the event of the saving says: that of the version before may be of an earlier step.
        validation_loss=validation.loss if validation else None,
        top_5_accuracy=validation.top_5_accuracy if validation else None,
        healthy=audition.healthy if audition else None,
    )
