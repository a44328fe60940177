"""Threads that watch something and tell the screens. They end with the program, never the reverse."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from textual.message import Message

from ..core.errors import FishtuneError, JobError
from ..core.hardware.readings import GpuReading
from ..core.jobs.follow import EventFollower, LineFollower
from ..core.jobs.post_mortem import describe_loss
from ..core.jobs.record import Job, JobState
from ..core.messages import joined
from ..core.pipeline.history import earlier_jobs
from ..core.pipeline.steps import StepName
from ..core.stages.registry import StageName
from .messages import MOST_LOG_LINES, GpusRead, JobChanged, LogGrown
from .run_view import RunView
from .trouble import note

_LOOK_SECONDS = 0.5
_STATE_EVERY = 2  # looks between two looks at the process itself
_READ_AT_ONCE = 1 << 14  # as typed events this is ten times as much memory
_READS_A_LOOK = 16
_BACKLOG = _READ_AT_ONCE * _READS_A_LOOK  # as many bytes in one look: there are more still to be read
_BREATH = 0.01  # seconds between two parts of a long history
_LOG_AT_ONCE = 1 << 20
_GPU_SECONDS = 1.0
_GPU_SECONDS_WITHOUT = 15.0


class Watch:
    """A daemon thread with an end; subclasses do their work in `run` and pause with `wait`."""

    def __init__(self, post: Callable[[Message], object]) -> None:
        self.post = post
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True, name=type(self).__name__)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ask the thread to end; it is not waited for."""
        self._ended.set()

    @property
    def closed(self) -> bool:
        """Whether the end was asked for."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> bool:
        """Pause; return whether to go on."""
        return not self._ended.wait(seconds)

    def _guarded(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001 - nothing ends the wizard
            if not self.closed:  # else the event loop is gone, and so is whoever wanted to know
                self.failed(note(error))

    def failed(self, error: FishtuneError) -> None:
        """Take note of the unforeseen; its traceback is written."""

    def run(self) -> None:
        """Do the work until `closed`."""
        raise NotImplementedError


class JobWatch(Watch):
    """Reads a job's events and log as they grow, twice a second."""

    def __init__(self, step: StepName, job: Job, post: Callable[[Message], object]) -> None:
        super().__init__(post)
        self.step = step
        self.job = job
        self.view = RunView()
        self._log = LineFollower(job.log_path, MOST_LOG_LINES)

    def run(self) -> None:
        state, looks = self._state(), 0
        self._read_earlier(state)
        follower = EventFollower(self.job.events_path)
        self._tell(state)
        while True:
            read = self._read(follower)
            grown = self._read_log()
            behind = read >= _BACKLOG
            looks += 1
            new_state = self._state() if looks % _STATE_EVERY == 0 and not behind else state
            if read or new_state is not state:
                state = new_state
                self._tell(state)
            if state.is_over and not read and not grown:
                return
            if not self.wait(_BREATH if behind else _LOOK_SECONDS):
                return

    def _read_earlier(self, state: JobState) -> None:
        """Take what the jobs said that this one continues, so that a resumed run has one history."""
        if self.job.record.stage != StageName.TRAIN:
            return
        for job in earlier_jobs(self.job):
            follower = EventFollower(job.events_path)
            while self._read(follower) > 0:
                self._tell(state)
                if not self.wait(_BREATH):
                    return
            self.view.next_job()

    def failed(self, error: FishtuneError) -> None:
        self.view.loss = joined([error.message, error.hint])
        with contextlib.suppress(RuntimeError):
            self.post(JobChanged(self.step, self.job, JobState.LOST, self.view))

    def _read(self, follower: EventFollower) -> int:
        return _read_part(follower, self.view)

    def _read_log(self) -> int:
        """Show what was added to the log; return how many bytes that were."""
        begun_at = self._log.offset
        with contextlib.suppress(FishtuneError):  # events tell the same, and whether the job lives
            lines = self._log.poll(_LOG_AT_ONCE)
            if lines:
                self.post(LogGrown(self.job.id, shown_lines(lines)))
        return self._log.offset - begun_at

    def _state(self) -> JobState:
        try:
            self.job = self.job.refresh()
            return self.job.state()
        except JobError:
            return JobState.LOST  # somebody removed the folder

    def _tell(self, state: JobState) -> None:
        if state is JobState.LOST and not self.view.loss:
            # Asks the kernel's log, which may take a second: not a screen's work.
            try:
                self.view.loss, _hint = describe_loss(self.job)
            except Exception as error:  # noqa: BLE001 - nothing ends the wizard
                self.view.loss = note(error).message
        self.post(JobChanged(self.step, self.job, state, self.view))


def _read_part(follower: EventFollower, view: RunView) -> int:
    """Take what was added, at most a part of a long backlog; return how many bytes that were."""
    begun_at = follower.offset
    for _number in range(_READS_A_LOOK):
        before = follower.offset
        events = follower.poll(_READ_AT_ONCE)
        if follower.offset == before:
            break
        view.apply(events)
    return follower.offset - begun_at


def read_run(jobs: Iterable[Job]) -> RunView:
    """Return what the training jobs of a run have said so far, oldest first: one history."""
    view = RunView()
    for job in jobs:
        view.next_job()
        follower = EventFollower(job.events_path)
        with contextlib.suppress(FishtuneError, OSError):  # one job that cannot be read hides no other
            while _read_part(follower, view) > 0:
                time.sleep(_BREATH)  # the screen's thread is to be heard meanwhile
    return view


def shown_lines(lines: list[bytes]) -> list[str]:
    """Return lines of a log as a terminal ends up with them: of what `\\r` overwrites, the last counts."""
    return [line.rstrip(b"\r\n").split(b"\r")[-1].decode("utf-8", "replace") for line in lines]


class GpuSource(Protocol):
    """Where GPU readings come from: `core.hardware.nvml.Nvml`, or made-up ones in tests."""

    def read(self) -> GpuReading: ...


class GpuWatch(Watch):
    """Reads the GPUs once a second; where there are none, now and then."""

    def __init__(self, source: Callable[[], GpuSource], post: Callable[[Message], object]) -> None:
        super().__init__(post)
        self._source = source

    def run(self) -> None:
        source = self._source()
        while True:
            reading = source.read()
            self.post(GpusRead(reading))
            if not self.wait(_GPU_SECONDS if reading.gpus else _GPU_SECONDS_WITHOUT):
                return
