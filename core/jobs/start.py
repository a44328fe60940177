"""Starting and stopping jobs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..config.recent import remember_project
from ..config.strict import Table
from ..errors import FishtuneError, JobError, JobRunningError, StorageError
from ..events import Failed, Stopped
from ..files import write_json
from ..messages import Message, of_the_system
from ..owned import open_own
from ..redact import redacted, redacted_content
from ..stages.registry import STAGES, StageName
from .execute import lock_paths
from .follow import last_lines
from .lines import PRIVATE
from .locks import Lock, acquire_all
from .process import Liveness, ProcessIdentity, end_process, remember_child
from .record import SECRETS_VARIABLE, WORKER_FILE, Job, JobState, Place, create_job
from .writer import EventWriter

# Started as a module of an installed package: the working directory must not be able to shadow it (-P).
WORKER_COMMAND = [sys.executable, "-P", "-m", "fishtune.core.jobs.worker"]
_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LOG_LINES = 20  # the last of them may be empty
_GROWTH_SECONDS = 2.0
"""How long a job that is said to be lost is looked at: a stage at work says something in that time."""
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
        content, secrets = redacted_content(settings.model_dump(mode="json"))
        job = create_job(place, stage, content, [redacted(word) for word in sys.argv], resumed_from)
        job.secrets = secrets
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
    descriptor = open_own(job.log_path, os.O_WRONLY | os.O_APPEND, PRIVATE)
    try:
        with os.fdopen(descriptor, "ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=descriptors,
                env={
                    **os.environ,
                    "PYTHONSAFEPATH": "1",
                    "PYTHONUNBUFFERED": "1",
                    SECRETS_VARIABLE: json.dumps(job.secrets),
                    **environment,
                },
            )
    except OSError as error:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise JobError(
            "The process of job {job} could not be started: {reason} ({command}).",
            "Check that this Python installation is still there, and free memory: fishtune doctor",
            job=job.id,
            reason=of_the_system(error),
            command=command[0],
        ) from error
    remember_child(process)
    # It may be gone already; whoever waits for it to begin will notice.
    with contextlib.suppress(ProcessLookupError, StorageError):
        write_json(job.folder / WORKER_FILE, ProcessIdentity.of(process.pid).model_dump(mode="json"))
    return process


def _await_begin(job: Job, process: subprocess.Popen[bytes]) -> Job:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        job = job.refresh()
        if job.record.process is not None:
            return job
        if process.poll() is not None and job.refresh().record.process is None:
            error = JobError(
                "Job {job} ended before it began (exit code {code}): {reason}",
                "Its whole output is in {log}",
                job=job.id,
                code=process.returncode,
                reason=_last_words(job),
                log=job.log_path,
            )
            _say_last(job, Failed(error="JobError", message=error.message, hint=error.hint))
            raise error
        time.sleep(_POLL_SECONDS)
    return job


def _last_words(job: Job) -> str:
    with contextlib.suppress(FishtuneError):
        for line in reversed(last_lines(job.log_path, _LOG_LINES)[0]):
            if line.strip():
                return line.decode("utf-8", "replace").strip()
    return Message("it said nothing.")


def stop_job(job: Job, now: bool = False) -> None:
    """Ask a job to finish its batch or step, save and end; with `now`, end it within two seconds.

    Without `now` this returns at once; the job says `stopped` when it has saved.

    Raises:
        JobError: the job does not run, or runs elsewhere.
    """
    job = job.refresh()
    state = job.state()
    if state is JobState.STARTING:
        job = _await_heard(job, now)
        state = job.state()
    process = job.record.process or job.worker()
    if state is JobState.ELSEWHERE and process is not None:
        raise JobError(
            "Job {job} runs on {host}, not on this machine.",
            "Stop it there: fishtune stop {job} – or, if that machine or container is gone for "
            "good, say so: fishtune stop --lost {job}",
            job=job.id,
            host=process.host,
        )
    if state is JobState.STARTING and process is not None and now:
        end_process(process)
        _say_stopped(job)
        return
    if state is not JobState.RUNNING or process is None:
        raise JobError(
            "Job {job} does not run: it is {state}.",
            "See all jobs with: fishtune jobs",
            job=job.id,
            state=Message(state),
        )
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


def _await_heard(job: Job, now: bool) -> Job:
    """Wait until a job that starts hears signals, which would kill it before; return it as it is then."""
    deadline = time.monotonic() + (_END_SECONDS if now else _START_SECONDS)
    while job.state() is JobState.STARTING and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        job = job.refresh()
    return job


def declare_lost(job: Job) -> None:
    """Write the last event of a job whose machine or container is gone and cannot be asked.

    Nobody can tell from here whether it runs, so this is for a user to say. What can be seen is looked at:
    a lock that is held, and events that still arrive, speak against it.

    Raises:
        JobError: it did not run elsewhere, or something shows that it is at work.
    """
    state = job.refresh().state()
    if state is not JobState.ELSEWHERE:
        raise JobError(
            "Job {job} is {state}: that is known without being told.",
            "See all jobs with: fishtune jobs",
            job=job.id,
            state=Message(state),
        )
    lock = job.place.jobs / "locks" / f"{job.record.stage}.lock"
    try:
        held = Lock.acquire(lock)
    except JobRunningError as error:
        raise JobError(
            "Job {job} is not lost: the lock of its stage is held by a process that shares this disk.",
            error.hint,
            job=job.id,
        ) from error
    with held:
        before = job.last_event()
        time.sleep(_GROWTH_SECONDS)
        if job.last_event() != before:
            raise JobError(
                "Job {job} is not lost: it has just written to {file}.",
                "Watch it with: fishtune attach {job}",
                job=job.id,
                file=job.events_path,
            )
        host = job.record.process.host if job.record.process else Message("another machine")
        _say_last(
            job,
            Failed(
                error="JobError",
                message=Message("It ran on {host}, which is gone: it was declared lost.", host=host),
                hint=Message("Resume from what was saved with: fishtune resume {job}", job=job.id),
            ),
        )


def _say_stopped(job: Job) -> None:
    """Write the last event for a job that was killed before it could."""
    _say_last(
        job, Stopped(saved=Message("It did not answer and was killed; what it had saved is kept and valid."))
    )


def _say_last(job: Job, event: Failed | Stopped) -> None:
    if job.refresh().outcome() is None:
        with contextlib.closing(EventWriter(job.events_path)) as writer:
            writer.write(event)
