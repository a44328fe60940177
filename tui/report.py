"""What the newest check of a project's recordings found."""

from __future__ import annotations

from typing import Any

from ..core.events import Finished
from ..core.jobs.record import Job, Place, list_jobs
from ..core.project import Project
from ..core.stages import StageName


def newest_report(project: Project) -> tuple[Job | None, dict[str, Any] | None]:
    """Return the newest finished check of the project's folder and its report."""
    for job in reversed(list_jobs(Place(results=project.results, project=project.name))):
        if job.record.stage != StageName.VALIDATE or job.record.settings.get("data") != str(project.data):
            continue
        outcome = job.outcome()
        if isinstance(outcome, Finished):
            return job, outcome.summary
    return None, None
