"""What the newest check of a project's recordings found."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.config.project import Project
from ..core.config.settings import LoudnessNormSettings, PrepareSettings, for_another_run
from ..core.config.strict import Table
from ..core.dataset.findings import Finding
from ..core.dataset.rows import ClipRow
from ..core.errors import FishtuneError
from ..core.events import ClipsListed, Finished, decode_event
from ..core.jobs.again import settings_again
from ..core.jobs.follow import read_lines
from ..core.jobs.record import Job, JobState, Place, list_jobs
from ..core.pipeline.seen import concerns
from ..core.stages.registry import StageName
from .catalogue import _, ngettext, sentence

_LISTED, _HEAD = b'"kind":"clips"', 120
"""What a line that lists clips has at its beginning."""
_NUMBERS = ("clips", "seconds", "median_seconds", "longest_seconds")


def newest_report(project: Project) -> tuple[Job | None, dict[str, Any] | None]:
    """Return the newest finished check of the project's folder and its report."""
    for job in reversed(list_jobs(Place(results=project.results, project=project.name))):
        if job.record.stage != StageName.VALIDATE or not concerns(job, project):
            continue
        if job.state() is not JobState.FINISHED:
            continue
        report = _report(job.folder, _size(job.events_path))
        if report is not None:
            return job, report
    return None, None


@lru_cache(maxsize=2)
def _report(job_folder: Path, size: int) -> dict[str, Any] | None:  # noqa: ARG001 - part of the key
    """Return what a check found, None where it has not finished or its report is damaged."""
    job = Job.open(job_folder)
    outcome = job.outcome()
    if not isinstance(outcome, Finished):
        return None
    summary = outcome.summary
    try:
        return {
            "data": str(summary.get("data", "")),
            "clips": _number(summary.get("clips")),
            "seconds": _number(summary.get("seconds")),
            "speakers": [_speaker(item) for item in summary.get("speakers", [])],
            "findings": [_finding(item, job.record.folder) for item in summary.get("findings", [])],
        }
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _finding(item: dict[str, Any], folder: Path) -> Finding:
    """Return a finding of a check that ran in `folder`, whose paths may begin there."""
    return Finding.model_validate({**item, "path": os.path.normpath(folder / str(item["path"]))})


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


def clip_rows(job: Job) -> list[ClipRow]:
    """Return what a check listed, clip by clip; nothing where it is of a version that listed none."""
    return _rows(job.folder, _size(job.events_path))


@lru_cache(maxsize=1)
def _rows(job_folder: Path, size: int) -> list[ClipRow]:  # noqa: ARG001 - part of the key
    rows = []
    for line in read_lines(Job.open(job_folder).events_path):
        if _LISTED not in line[:_HEAD]:
            continue
        event = decode_event(line)
        if isinstance(event, ClipsListed):
            rows += [row for row in map(ClipRow.of, event.clips) if row is not None]
    return rows


def report_text(report: dict[str, Any]) -> str:
    """Return the findings as lines of text: severity, file, what is wrong, what to do."""
    clips = ngettext("{number} clip", "{number} clips", report["clips"]).format(number=report["clips"])
    amount = _("{clips}, {seconds} s of audio").format(clips=clips, seconds=f"{report['seconds']:.0f}")
    lines = [f"{report['data']}: {amount}", ""]
    for item in report["findings"]:
        lines.append(f"{_(item.severity)}: {item.path}")
        lines += [f"    {sentence(item.what)}", f"    → {sentence(item.what_to_do)}"]
    return "\n".join(lines) + "\n"


def unfinished_work(project: Project) -> tuple[StageName, Table] | None:
    """Return the stage and settings that continue the making of the project's recordings, if it ended early.

    The newest normalisation or preparation counts; what it wrote is known there and not made again.
    """
    for job in reversed(list_jobs(Place(results=project.results, project=project.name))):
        if job.record.stage not in (StageName.LOUDNESS_NORM, StageName.PREPARE):
            continue
        if job.state() not in (JobState.STOPPED, JobState.FAILED, JobState.LOST):
            return None
        try:
            settings = for_another_run(settings_again(job)[0])  # what it wrote is to be kept
        except FishtuneError:
            return None
        settings = settings.model_copy(update=_absolute(settings, job.record.folder))
        return (StageName(job.record.stage), settings) if _is_about(settings, project) else None
    return None


def _absolute(settings: Table, folder: Path) -> dict[str, Path]:
    """Return the paths of settings that were given in another working folder."""
    found = ((name, getattr(settings, name)) for name in type(settings).model_fields)
    return {name: Path(os.path.normpath(folder / path)) for name, path in found if isinstance(path, Path)}


def _is_about(settings: Table, project: Project) -> bool:
    match settings:
        case LoudnessNormSettings():
            return project.data in (settings.source, settings.target)
        case PrepareSettings():
            return project.data == settings.out
    return False
