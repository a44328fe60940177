"""What the newest check of a project's recordings found."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.config.project import Project
from ..core.config.settings import LoudnessNormSettings
from ..core.config.strict import parse
from ..core.dataset.findings import Finding
from ..core.errors import FishtuneError
from ..core.events import Finished
from ..core.jobs.record import Job, JobState, Place, list_jobs
from ..core.stages.registry import StageName

_NUMBERS = ("clips", "seconds", "median_seconds", "longest_seconds")


def newest_report(project: Project) -> tuple[Job | None, dict[str, Any] | None]:
    """Return the newest finished check of the project's folder and its report."""
    for job in reversed(list_jobs(Place(results=project.results, project=project.name))):
        if job.record.stage != StageName.VALIDATE or job.record.settings.get("data") != str(project.data):
            continue
        report = _report(job.folder, _size(job.events_path))
        if report is not None:
            return job, report
    return None, None


@lru_cache(maxsize=2)
def _report(job_folder: Path, size: int) -> dict[str, Any] | None:  # noqa: ARG001 - part of the key
    """Return what a check found, None where it has not finished or its report is damaged."""
    outcome = Job.open(job_folder).outcome()
    if not isinstance(outcome, Finished):
        return None
    summary = outcome.summary
    try:
        return {
            "data": str(summary.get("data", "")),
            "clips": _number(summary.get("clips")),
            "seconds": _number(summary.get("seconds")),
            "speakers": [_speaker(item) for item in summary.get("speakers", [])],
            "findings": [Finding.model_validate(item) for item in summary.get("findings", [])],
        }
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _speaker(item: dict[str, Any]) -> dict[str, Any]:
    loudness = item.get("loudness")
    numbers = {name: _number(item.get(name)) for name in _NUMBERS}
    return {"speaker": str(item["speaker"]), "loudness": _number(loudness, None), **numbers}


def _number(value: object, otherwise: Any = 0) -> Any:
    return value if isinstance(value, int | float) and math.isfinite(value) else otherwise


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def unfinished_normalisation(project: Project) -> LoudnessNormSettings | None:
    """Return the settings that continue a normalisation into or of the project's folder, if it ended early.

    The newest one counts; what it wrote is known by its journal and not made again.
    """
    for job in reversed(list_jobs(Place(results=project.results, project=project.name))):
        if job.record.stage != StageName.LOUDNESS_NORM:
            continue
        if job.state() not in (JobState.STOPPED, JobState.FAILED, JobState.LOST):
            return None
        try:
            given = parse(LoudnessNormSettings, job.record.settings, f"job {job.id}")
        except FishtuneError:
            return None
        source, target = (
            Path(os.path.normpath(job.record.folder / path)) for path in (given.source, given.target)
        )
        if project.data not in (source, target):
            return None
        return given.model_copy(update={"source": source, "target": target, "clean": False})
    return None
