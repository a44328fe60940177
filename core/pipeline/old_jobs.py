"""Jobs that nothing asks for any more: what they left may go."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from ..files import storage_errors
from ..jobs.record import Job, JobState
from ..stages.registry import StageName
from .seen import folder_of


def old_jobs(jobs: Iterable[Job]) -> list[Job]:
    """Return which of the jobs may be removed, in their order.

    Steps are judged, and stopped work is continued, by the newest job of a stage on a folder; pages show what
    the newest that finished found. The history of a run is in all its training jobs. These stay, as does what
    may still run and what a newer version began.

    Args:
        jobs: of any number of places, those of one place oldest first.
    """
    needed, old = set(), []
    for job in reversed(list(jobs)):
        state, stage = job.state(), job.record.stage
        about = job.place, stage, folder_of(job)
        is_newest = (*about, "any") not in needed
        is_newest_finished = state is JobState.FINISHED and (*about, "finished") not in needed
        needed.add((*about, "any"))
        if state is JobState.FINISHED:
            needed.add((*about, "finished"))
        is_known = stage in set(StageName) and stage != StageName.TRAIN
        if is_known and state.is_over and not (is_newest or is_newest_finished):
            old.append(job)
    return old[::-1]


def remove_job(job: Job) -> None:
    """Remove a job's folder: its record, its events and its log.

    Raises:
        StorageError: the system refused.
    """
    with storage_errors(job.folder):
        shutil.rmtree(job.folder)
