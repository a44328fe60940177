"""The folder of a job: what `job.json` holds, and what can be said about a job from outside.

results/NAME/jobs/20261123-175501-extract/
    job.json       the record below
    events.jsonl   what the stage said, one event a line
    log.txt        the process's output, with the traceback of a failure
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import JobError
from ..events import LAST_EVENTS, Event, Failed, Finished, Stopped
from ..files import storage_errors, write_json
from .follow import last_events
from .process import Liveness, ProcessIdentity, memory_kills

JOB_FILE = "job.json"
EVENTS_FILE = "events.jsonl"
LOG_FILE = "log.txt"
_STARTING_SECONDS = 60.0
"""A worker that has not said its pid by then never began: it took its starter with it, or the reverse."""
_VERSIONS_OF = ("fishtune", "torch", "torchaudio", "lightning", "peft")


class JobState(StrEnum):
    """What is true of a job."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"
    """The process is gone and never said how it ended: killed, out of memory, machine restarted."""
    ELSEWHERE = "elsewhere"
    """It ran on another machine or in another container when last seen."""

    @property
    def is_over(self) -> bool:
        """Whether the job certainly does nothing any more."""
        return self in (JobState.FINISHED, JobState.FAILED, JobState.STOPPED, JobState.LOST)


class JobRecord(BaseModel):
    """Content of `job.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer version may have written more

    v: int = 1
    id: str
    stage: str
    project: str
    created: float = Field(default_factory=time.time)
    settings: dict[str, Any]
    folder: Path
    """Working directory: relative paths in the settings start there."""
    command: list[str]
    """Command line of the process."""
    versions: dict[str, str] = {}
    process: ProcessIdentity | None = None
    """None until the process has begun."""
    memory_kills: int | None = None
    """The control group's count of processes ended for want of memory when the job began."""
    resumed_from: str = ""
    """Id of the job that this one goes on from."""


class Place(BaseModel):
    """A project's runs: where its jobs and checkpoints lie."""

    model_config = ConfigDict(frozen=True)

    results: Path
    project: str

    @property
    def folder(self) -> Path:
        """`results/NAME`."""
        return self.results / self.project

    @property
    def jobs(self) -> Path:
        """Folder of the jobs."""
        return self.folder / "jobs"


class Job:
    """A job, seen from outside or inside."""

    def __init__(self, folder: Path, record: JobRecord) -> None:
        self.folder = folder
        self.record = record

    @classmethod
    def open(cls, folder: Path) -> Job:
        """Read a job's record.

        Raises:
            JobError: there is no readable `job.json`.
        """
        file = folder / JOB_FILE
        try:
            return cls(folder, JobRecord.model_validate_json(file.read_bytes()))
        except FileNotFoundError as error:
            raise JobError(f"There is no job in {folder}.", "See all jobs with: fishtune jobs") from error
        except (OSError, ValidationError) as error:
            raise JobError(
                f"{file} cannot be read ({error.__class__.__name__}).", "The job's folder may be removed."
            ) from error

    @property
    def id(self) -> str:
        """The job's id, which is its folder's name."""
        return self.record.id

    @property
    def events_path(self) -> Path:
        """Where its events lie; the file may not exist yet."""
        return self.folder / EVENTS_FILE

    @property
    def log_path(self) -> Path:
        """Where its output lies; the file may not exist yet."""
        return self.folder / LOG_FILE

    def refresh(self) -> Job:
        """Return the job as it is now."""
        return Job.open(self.folder)

    def write(self, **changes: Any) -> None:
        """Change the record and write it. Only the starter and the job's own process do this."""
        self.record = self.record.model_copy(update=changes)
        write_json(self.folder / JOB_FILE, self.record.model_dump(mode="json"))

    def last_event(self) -> Event | None:
        """Return the newest event, or None if there is none yet."""
        events = last_events(self.events_path, 1)
        return events[-1] if events else None

    def outcome(self) -> Finished | Failed | Stopped | None:
        """Return the event that ended the job, or None if it has not ended or ended without a word."""
        event = self.last_event()
        return event if isinstance(event, LAST_EVENTS) else None

    def state(self) -> JobState:
        """Return what is true of the job now, never from the pid alone."""
        state = _ENDED.get(type(self.last_event()))
        if state is not None:
            return state
        process = self.record.process
        if process is None:
            young = time.time() - self.record.created < _STARTING_SECONDS
            return JobState.STARTING if young else JobState.LOST
        liveness = process.liveness()
        if liveness is Liveness.ALIVE:
            return JobState.RUNNING
        if liveness is Liveness.ELSEWHERE:
            return JobState.ELSEWHERE
        # It may have written its last event and ended between the two looks.
        return _ENDED.get(type(self.last_event()), JobState.LOST)


_ENDED: dict[type, JobState] = {
    Finished: JobState.FINISHED,
    Failed: JobState.FAILED,
    Stopped: JobState.STOPPED,
}


def create_job(
    place: Place, stage: str, settings: dict[str, Any], command: list[str], resumed_from: str = ""
) -> Job:
    """Make a job's folder and record. Its id is `20261123-175501-extract`: in UTC, sortable by time.

    Call it while holding the stage's lock.

    Raises:
        StorageError: the folder cannot be written.
    """
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{stage}"
    with storage_errors(place.jobs):
        place.jobs.mkdir(parents=True, exist_ok=True)
        folder, number = place.jobs / stem, 1
        while True:
            try:
                folder.mkdir()
                break
            except FileExistsError:
                number += 1
                folder = place.jobs / f"{stem}-{number}"
        job = Job(
            folder.absolute(),
            JobRecord(
                id=folder.name,
                stage=stage,
                project=place.project,
                settings=settings,
                folder=Path.cwd(),
                command=command,
                versions=_versions(),
                memory_kills=memory_kills(),
                resumed_from=resumed_from,
            ),
        )
        try:
            job.write()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return job


def list_jobs(place: Place) -> list[Job]:
    """Return the jobs of a project, oldest first; folders without a readable record are left out."""
    try:
        folders = sorted(entry for entry in place.jobs.iterdir() if (entry / JOB_FILE).is_file())
    except OSError:
        return []
    jobs = []
    for folder in folders:
        try:
            jobs.append(Job.open(folder))
        except JobError:
            continue  # half removed by hand; the rest of the list must still be shown
    return sorted(jobs, key=lambda job: (job.record.created, job.id))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}
    for name in _VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
