"""Starting and stopping jobs."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..errors import JobError
from ..events import Stopped
from ..files import storage_errors
from ..recent import remember_project
from ..stages import STAGES, StageName
from ..validation import Table
from .execute import lock_paths
from .locks import Lock, acquire_all
from .process import Liveness, end_process, remember_child
from .record import Job, JobState, Place, create_job
from .writer import EventWriter

# Started as a module of an installed package: the working directory must not be able to shadow it (-P).
WORKER_COMMAND = [sys.executable, "-P", "-m", "fishtune.core.jobs.worker"]
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_END_SECONDS = 1.0
"""How long a job may take to end itself after the second signal before it is killed."""


@contextmanager
def new_job(
    stage: StageName, settings: Table, place: Place, resumed_from: str = ""
) -> Iterator[tuple[Job, list[Lock]]]:
    """Yield a new job and the locks it needs; the locks are given back at the end of the block.

    Raises:
        JobRunningError: another job writes there.
        StorageError: the job's folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        locks = acquire_all(lock_paths(place, STAGES[stage], settings))
        for lock in locks:
            held.enter_context(lock)
        job = create_job(place, stage, settings.model_dump(mode="json"), sys.argv, resumed_from)
        for lock in locks:
            lock.name_holder(job.id)
        remember_project(place.results, place.project)
        yield job, locks


def start_job(
    stage: StageName,
    settings: Table,
    place: Place,
    resumed_from: str = "",
    environment: Mapping[str, str] | None = None,
) -> Job:
    """Start a stage as a process of its own and return its job once that process has begun.

    The process has its own session and no terminal: it outlives this process, its terminal and its link.

    Args:
        environment: variables for the job's process alone, such as a token; they are written nowhere.

    Raises:
        JobRunningError: another job writes there.
        JobError: the process could not be started, or ended before it began.
        StorageError: the job's folder cannot be written.
    """
    if sys.platform == "win32":
        raise JobError(
            "Windows has no sessions to detach a job into.",
            "Run the stage in the foreground, or use WSL.",
        )
    with new_job(stage, settings, place, resumed_from) as (job, locks):
        process = _spawn(job, locks, environment or {})
        for lock in locks:
            lock.drop()  # the job has it now
    return _await_begin(job, process)


def _spawn(job: Job, locks: Sequence[Lock], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    descriptors = [lock.descriptor for lock in locks]
    command = [*WORKER_COMMAND, str(job.folder), *map(str, descriptors)]
    with storage_errors(job.log_path):
        log = job.log_path.open("ab")
    try:
        with log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=descriptors,
                env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", **environment},
            )
    except OSError as error:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise JobError(
            f"The process of job {job.id} could not be started: {error.strerror} ({command[0]}).",
            "Check that this Python installation is still there, and free memory: fishtune doctor",
        ) from error
    remember_child(process)
    return process


def _await_begin(job: Job, process: subprocess.Popen[bytes]) -> Job:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        job = job.refresh()
        if job.record.process is not None:
            return job
        if process.poll() is not None:
            raise JobError(
                f"Job {job.id} ended before it began (exit code {process.returncode}): {_last_words(job)}",
                f"Its whole output is in {job.log_path}",
            )
        time.sleep(_POLL_SECONDS)
    return job


def _last_words(job: Job) -> str:
    with contextlib.suppress(OSError):
        lines = job.log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
    return "it said nothing."


def stop_job(job: Job, now: bool = False) -> None:
    """Ask a job to finish its batch or step, save and end; with `now`, end it within two seconds.

    Without `now` this returns at once; the job says `stopped` when it has saved.

    Raises:
        JobError: the job does not run, or runs elsewhere.
    """
    process = job.record.process
    state = job.state()
    if state is JobState.ELSEWHERE and process is not None:
        raise JobError(
            f"Job {job.id} runs on {process.host}, not on this machine.",
            f"Stop it there: fishtune stop {job.id}",
        )
    if state is not JobState.RUNNING or process is None:
        raise JobError(f"Job {job.id} does not run: it is {state}.", "See all jobs with: fishtune jobs")
    with contextlib.suppress(ProcessLookupError):
        if not now:
            os.kill(process.pid, signal.SIGTERM)
            return
        # Two different signals: the second of a kind is lost while the first is still pending.
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGINT)
    deadline = time.monotonic() + _END_SECONDS
    while process.liveness() is Liveness.ALIVE and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    if end_process(process) or job.outcome() is None:
        _say_stopped(job)


def _say_stopped(job: Job) -> None:
    """Write the last event for a job that was killed before it could."""
    if job.refresh().outcome() is None:
        writer = EventWriter(job.events_path)
        writer.write(Stopped(saved="It did not answer and was killed; what it had saved is kept and valid."))
        writer.close()
