"""What can be said about a job whose process is gone without a last word."""

from __future__ import annotations

import contextlib
import os
import shutil
from datetime import datetime

from ..errors import FishtuneError
from ..messages import Message, joined
from .failures import memory_advice
from .follow import last_lines
from .lines import event_line
from .process import ended_by, kernel_killed_for_memory, memory_kills
from .record import Job

_FULL_BYTES = 1 << 20
_FATAL = b"Fatal Python error: "
_LOG_LINES = 200


def describe_loss(job: Job) -> tuple[Message, Message]:
    """Return what is known of a lost job, as sentences, and what to do next."""
    hint = Message("Resume from what was saved with: fishtune resume {job}", job=job.id)
    # `fishtune resume` would run into the same with the same settings.
    memory_hint = joined([memory_advice(job.record.stage), Message("What was saved is kept.")])
    process = job.record.process
    if process is None:
        return Message("It never started: the process was killed during start-up."), hint
    what, advice = (
        Message("The process disappeared without reporting an error: it was killed, for example by SIGKILL."),
        hint,
    )
    signal = ended_by(process.pid)
    fatal = _fatal_error(job)
    if process.restarted_since:
        what = Message("The machine was restarted while it ran.")
    elif kernel_killed_for_memory(process.pid):
        what, advice = Message("The kernel ended it because the machine ran out of memory."), memory_hint
    elif _memory_was_short(job):
        what = Message(
            "The process disappeared, and the kernel's OOM killer struck in this control group while it ran."
        )
        advice = memory_hint
    elif fatal:
        what = Message("The process crashed in native code ({fatal}); the log shows where.", fatal=fatal)
    elif signal is not None:
        what = Message("The process was ended by {signal}.", signal=signal.name)
    elif _disk_is_full(job):
        what = Message(
            "The process disappeared, and the disk is full: it may not even have been able to say so."
        )
        advice = joined([Message("Free some space on that disk."), hint])
    return joined([what, _last_seen(job)]), advice


def _last_seen(job: Job) -> Message:
    event = job.last_event()
    if event is None:
        return Message("It had not reported anything yet.")
    when = datetime.fromtimestamp(event.time).strftime("%Y-%m-%d %H:%M:%S")
    return Message("Last heard of at {when}: {event}.", when=when, event=event_line(event))


def _memory_was_short(job: Job) -> bool:
    before, now = job.record.memory_kills, memory_kills()
    return before is not None and now is not None and now > before


def _fatal_error(job: Job) -> str:
    """Return what faulthandler wrote into the log when native code crashed, or ""."""
    with contextlib.suppress(OSError, FishtuneError):
        for line in reversed(last_lines(job.log_path, _LOG_LINES)[0]):
            if line.startswith(_FATAL):
                return line.removeprefix(_FATAL).decode("utf-8", "replace").strip()
    return ""


def _disk_is_full(job: Job) -> bool:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(os.fspath(job.folder)).free < _FULL_BYTES
    return False
