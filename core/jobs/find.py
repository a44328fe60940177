"""Finding jobs: those of a place, of the current folder, of everything used lately."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path

from ..config.recent import recent_projects
from ..errors import JobError
from ..file_names import is_usable_name
from ..stages.registry import StageName
from .record import Job, JobState, Place, list_jobs


def places_in(results: Path) -> list[Place]:
    """Return the places below a results folder that have jobs, by name."""
    try:
        names = sorted(entry.name for entry in results.iterdir() if (entry / "jobs").is_dir())
    except OSError:
        return []
    # No run of ours has a name that is not UTF-8.
    return [Place(results=results, project=name) for name in names if is_usable_name(name)]


def recent_places() -> list[Place]:
    """Return the places of the projects used lately, last used first."""
    return [Place(results=entry.results, project=entry.project) for entry in recent_projects()]


def jobs_of(places: Iterable[Place]) -> list[Job]:
    """Return the jobs of several places, oldest first, each once; those of one place in their own order."""
    lists = [list_jobs(place) for place in dict.fromkeys(places)]
    merged = heapq.merge(*lists, key=lambda job: (job.record.created, job.id))
    return list({job.folder: job for job in merged}.values())


def newest_job(jobs: Iterable[Job]) -> Job:
    """Return the newest job that runs, or the newest of all where none does.

    A chain that runs comes before the job of its present step: it shows that step's events too, and
    stopping it stops both.

    Raises:
        JobError: there is none.
    """
    ordered = list(jobs)
    if not ordered:
        raise JobError("There is no job here.", "See jobs of other projects with: fishtune jobs --all")
    active = [job for job in ordered if job.state() in (JobState.RUNNING, JobState.STARTING)]
    chains = [job for job in active if job.record.stage == StageName.RUN]
    return (chains or active or ordered)[-1]


def job_named(text: str, jobs: Iterable[Job]) -> Job:
    """Return the job whose id is `text` or, where only one does, begins with it or contains it.

    Raises:
        JobError: none or several match.
    """
    ordered = list(jobs)
    for matches in (
        [job for job in ordered if job.id == text],
        [job for job in ordered if job.id.startswith(text)],
        [job for job in ordered if text in job.id],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(job.id for job in matches[-5:])
            raise JobError(
                "{text} may mean several jobs: {jobs}.", "Give more of the id.", text=text, jobs=names
            )
    raise JobError("There is no job {text}.", "See all jobs with: fishtune jobs --all", text=text)
