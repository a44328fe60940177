"""Running a stage in this process as a job, in the foreground or detached alike."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..config.strict import Table, parse
from ..errors import FishtuneError, StopRequested, StorageError
from ..events import Failed, Finished, Reporter, Started, Stopped
from ..file_names import short_name
from ..messages import AS_DATA, Message
from ..owned import open_own
from ..redact import redacted, restored
from ..stages.registry import STAGES, Stage, StageName
from .failures import explain
from .lines import PRIVATE, LogFile, append_log
from .locks import Lock
from .process import ProcessIdentity
from .record import Job, Place
from .signals import end_now, watch_signals
from .writer import EventWriter, JobReporter, Listener

_ENDED_AT_ONCE = Message(
    "Ended at once as asked; what was saved before is kept. Starting again continues from there."
)


def is_first_rank() -> bool:
    """Return whether this process is the one that speaks for all ranks of a distributed run.

    torchrun and Lightning start one process a device and tell each its rank in the environment. Only
    the first has a job; the others run the same stage without one.
    """
    names = ("RANK",) if "RANK" in os.environ else ("NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(name, "0") == "0" for name in names)


def lock_paths(place: Place, stage: Stage, settings: Table) -> list[Path]:
    """Return the files whose locks a run needs: the project's for this stage, and the written folder's.

    The second keeps two projects from writing the same folder. It lies beside that folder, because some
    stages replace the folder whole; in it where the folder is the root of a disk.
    """
    paths = [place.jobs / "locks" / f"{stage.name}.lock"]
    written = stage.written_folder(settings)
    if written is not None:
        folder = written.absolute()
        folder = folder.resolve() if folder.exists() else folder
        beside = folder.parent / f".fishtune-{short_name(folder.name)}.{stage.name}.lock"
        inside = folder / f".fishtune.{stage.name}.lock"
        parent_is_writable = os.access(folder.parent, os.W_OK) or not folder.exists()
        paths.append(beside if parent_is_writable and not folder.is_mount() else inside)
    return paths


def run_job(
    job: Job, locks: Sequence[Lock], listeners: Sequence[Listener] = (), *, redirect: bool
) -> dict[str, Any]:
    """Run a job's stage in this process to its end and return the summary of its result.

    Exactly one last event is written, whatever happens.

    Args:
        locks: those that the job needs; given back just before the last event, so that whoever sees that
            event can start the stage again.
        listeners: are given every event too.
        redirect: whether this process's output goes to the job's log meanwhile.

    Raises:
        FishtuneError: the stage failed; an unforeseen exception arrives as one too.
        StopRequested: the stage was asked to stop and has saved.
    """
    writer = EventWriter(job.events_path)
    reporter = JobReporter(writer, [LogFile(job.log_path), *listeners])

    def stop() -> None:
        reporter.request_stop()
        reporter.log("Stopping after what it is doing now, and saving. Ask again to kill it at once.")

    def end() -> None:
        # The locks stay until the process is gone: its main thread may be writing at this very moment.
        writer.write(Stopped(saved=_ENDED_AT_ONCE))
        end_now()

    def release() -> None:
        for lock in locks:
            lock.release()

    try:
        output = _output_to(job.log_path) if redirect else contextlib.nullcontext()
        with output, watch_signals(stop, end):
            # Told only now: from here on, whoever asks this process to stop is heard.
            job.write(process=ProcessIdentity.of(os.getpid()))
            return _run(job, reporter, release)
    except FishtuneError as error:
        if not writer.ended:  # the job's folder cannot be written
            release()
            reporter.emit(Failed(error=type(error).__name__, message=error.message, hint=error.hint))
        raise
    finally:
        writer.close()


def _run(job: Job, reporter: JobReporter, release: Callable[[], None]) -> dict[str, Any]:
    record = job.record
    if not faulthandler.is_enabled():
        faulthandler.enable(file=2)  # a crash of native code leaves its signal in the log
    reporter.emit(Started(stage=record.stage, settings=record.settings, resumed_from=record.resumed_from))
    try:
        stage = STAGES[StageName(record.stage)]
        settings = parse(
            stage.settings_model(), restored(record.settings, job.secrets), Message("job {job}", job=job.id)
        )
        result = stage.run(settings, reporter)
    except StopRequested as stop:
        release()
        reporter.emit(Stopped(saved=stop.saved))
        raise
    except KeyboardInterrupt as interrupt:
        release()
        reporter.emit(Stopped())
        raise StopRequested from interrupt
    except BaseException as error:
        _log_traceback(job.log_path)
        explained = explain(error, record.stage)
        release()
        reporter.emit(
            Failed(error=_class_name(error, explained), message=explained.message, hint=explained.hint)
        )
        if explained is error:
            raise
        raise explained from error
    release()
    reporter.emit(Finished(summary=result.model_dump(mode="json", context=AS_DATA)))
    return result.model_dump(mode="json")


def run_rank(stage: Stage, settings: Table) -> None:
    """Run a rank other than the first of a distributed run: it has no job, only the same signals."""
    reporter = Reporter()
    with watch_signals(reporter.request_stop, end_now):
        stage.run(settings, reporter)


def _class_name(error: BaseException, explained: FishtuneError) -> str:
    return type(error if type(explained) is FishtuneError else explained).__name__


def _log_traceback(path: Path) -> None:
    with contextlib.suppress(OSError, StorageError), append_log(path) as file:
        file.write(redacted(traceback.format_exc()))


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Send what this process and its children write to standard output and error to `path`."""
    _flush()
    saved = {1: os.dup(1), 2: os.dup(2)}
    log = open_own(path, os.O_WRONLY | os.O_APPEND, PRIVATE)
    try:
        for standard in saved:
            os.dup2(log, standard)
        yield
    finally:
        _flush()
        for standard, original in saved.items():
            os.dup2(original, standard)
            os.close(original)
        os.close(log)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
