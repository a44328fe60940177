"""The folder of a job: what `job.json` holds, and what can be said about a job from outside.

results/NAME/jobs/20261123-175501-extract/
    job.json       the record below
    worker.json    the process that was started for it, until that process has begun and says so in job.json
    events.jsonl   what the stage said, one event a line
    log.txt        the process's output, with the traceback of a failure
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, ValidationError

from ..config.settings import RunName, UserPath
from ..data_model import DataModel
from ..errors import FishtuneError, JobError, MalformedFileError, StorageError, UsageError
from ..events import LAST_EVENTS, Event, Failed, Finished, Instant, Stopped, decode_end
from ..files import size_and_time, storage_errors, write_json
from ..tables import read_json
from .follow import last_events, last_lines
from .process import Liveness, ProcessIdentity, memory_kills

JOB_FILE = "job.json"
EVENTS_FILE = "events.jsonl"
LOG_FILE = "log.txt"
SECRETS_VARIABLE = "FISHTUNE_JOB_SECRETS"
WORKER_FILE = "worker.json"
_LARGEST_RECORD = 8 << 20
_MOST_JOBS = 1_000_000_000
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


class Ended(NamedTuple):
    """How a job ended by its own word, and when."""

    state: JobState
    time: float


class JobRecord(DataModel):
    """Content of `job.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # a newer version may have written more

    v: int = 1
    id: RunName
    stage: str
    project: RunName
    number: Annotated[int, Field(ge=0, le=_MOST_JOBS)] = 0
    """Counts the jobs of a project: their order where a clock was wrong. Jobs of older versions have 0."""
    created: Instant = Field(default_factory=time.time)
    settings: dict[str, Any]
    folder: UserPath
    """Working directory: relative paths in the settings start there."""
    command: list[str]
    """Command line of the process."""
    versions: dict[str, str] = {}
    starter: ProcessIdentity | None = None
    """The process that made the job."""
    process: ProcessIdentity | None = None
    """None until the process has begun."""
    memory_kills: int | None = None
    """The control group's count of processes ended for want of memory when the job began."""
    resumed_from: str = ""
    """Id of the job that this one goes on from."""


class Place(DataModel):
    """A project's runs: where its jobs and checkpoints lie."""

    model_config = ConfigDict(frozen=True)

    results: Path
    project: str

    @classmethod
    def at(cls, folder: Path) -> Place:
        """Return the place whose folder this is."""
        return cls(results=folder.parent, project=folder.name)

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
        self.secrets: dict[str, str] = {}
        """What the settings hold where the record says `***`; known to the starter and the job's process."""

    @classmethod
    def open(cls, folder: Path) -> Job:
        """Read a job's record.

        Raises:
            JobError: there is no readable `job.json`.
        """
        file = folder / JOB_FILE
        try:
            record = JobRecord.model_validate(read_json(file, _LARGEST_RECORD))
        except MalformedFileError as error:
            if not file.exists():
                raise JobError(
                    "There is no job in {folder}.", "See all jobs with: fishtune jobs", folder=folder
                ) from error
            raise JobError(error.message, "The job's folder may be removed.") from error
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise JobError(
                "{file} cannot be read: {where} is not what it should be.",
                "The job's folder may be removed.",
                file=file,
                where=where,
            ) from error
        except StorageError as error:
            raise JobError(error.message, error.hint) from error
        return cls(folder, record)

    @property
    def id(self) -> str:
        """The job's id, which is its folder's name."""
        return self.record.id

    @property
    def place(self) -> Place:
        """Where the job lies. What its record says about that is never obeyed: the folder may have moved."""
        return Place.at(self.folder.absolute().parent.parent)

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
        try:
            write_json(self.folder / JOB_FILE, self.record.model_dump(mode="json"))
        except UnicodeEncodeError as error:
            raise UsageError(
                "The working folder or a path that was given is not UTF-8 text and cannot be recorded.",
                "Rename it, or give another path that leads there.",
            ) from error

    def last_event(self) -> Event | None:
        """Return the newest event, or None if there is none yet."""
        try:
            events = last_events(self.events_path, 1)
        except FishtuneError:
            return None
        return events[-1] if events else None

    def outcome(self) -> Finished | Failed | Stopped | None:
        """Return the event that ended the job, or None if it has not ended or ended without a word.

        The result of a check of ten thousand clips takes a third of a second to read; `ended` and `state` do
        without.
        """
        event = self.last_event()
        return event if isinstance(event, LAST_EVENTS) else None

    def ended(self) -> Ended | None:
        """Return how the job ended, or None if it has not ended or ended without a word."""
        found = size_and_time(self.events_path)
        return None if found is None else _ended(self.events_path, *found)

    def state(self) -> JobState:
        """Return what is true of the job now, never from the pid alone."""
        if (ended := self.ended()) is not None:
            return ended.state
        process = self.record.process
        if process is None:
            return self._state_before_it_began()
        liveness = process.liveness()
        if liveness is Liveness.ALIVE:
            return JobState.RUNNING
        if liveness is Liveness.ELSEWHERE:
            return JobState.ELSEWHERE
        return self._state_at_last()

    def worker(self) -> ProcessIdentity | None:
        """Return the process that was started for the job, or None: it was not, or not as one of its own."""
        try:
            return ProcessIdentity.model_validate(read_json(self.folder / WORKER_FILE, _LARGEST_RECORD))
        except (FishtuneError, ValidationError):
            return None

    def _state_before_it_began(self) -> JobState:
        """Whether it is still starting follows from who starts it, never from a time: clocks may be wrong."""
        starting = self.worker() or self.record.starter
        liveness = starting.liveness() if starting is not None else Liveness.GONE
        if liveness is Liveness.ALIVE:
            return JobState.STARTING
        if liveness is Liveness.ELSEWHERE:
            return JobState.ELSEWHERE
        with contextlib.suppress(JobError):
            now = self.refresh()
            if now.record.process is not None:  # it began and ended since this record was read
                return now.state()
        return self._state_at_last()

    def _state_at_last(self) -> JobState:
        """Return how a job ended whose process is gone: it may have said so since it was looked at first."""
        ended = self.ended()
        return JobState.LOST if ended is None else ended.state


@lru_cache(maxsize=1 << 12)
def _ended(events: Path, size: int, modified_ns: int) -> Ended | None:  # noqa: ARG001 - part of the key
    try:
        lines, _ = last_lines(events, 1)
    except FishtuneError:
        return None
    if not lines or (end := decode_end(lines[0])) is None:
        return None
    kind, when = end
    return Ended(JobState(kind), when)


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
        number = max((job.record.number for job in list_jobs(place)), default=0) + 1
        job = Job(
            folder.absolute(),
            JobRecord(
                id=folder.name,
                stage=stage,
                project=place.project,
                number=min(number, _MOST_JOBS),
                settings=settings,
                folder=Path.cwd(),
                command=command,
                versions=_versions(),
                starter=ProcessIdentity.of(os.getpid()),
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
        folders = sorted(place.jobs.iterdir())
    except OSError:
        return []
    jobs = []
    for folder in folders:
        try:
            jobs.append(Job.open(folder))
        except JobError:
            continue  # half removed by hand, or not a job; the rest of the list must still be shown
    return sorted(jobs, key=lambda job: (job.record.number, job.record.created, job.id))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": f"{sys.platform} {platform.machine()}"}
    for name in _VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
