"""Events as lines of plain text: for `log.txt`, for output that is no terminal, and for log panes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from ..events import (
    CheckpointSaved,
    ClipsListed,
    Event,
    Failed,
    Finished,
    ItemFailed,
    Log,
    MemoryMeasured,
    Phase,
    Progress,
    Started,
    Step,
    Stopped,
    Validation,
    Warned,
)
from ..owned import open_own
from ..redact import redacted
from ..terminal import visible_line
from ..units import format_amount, format_bytes, format_duration

PRIVATE: Final = 0o600
"""Permissions of a log."""


def event_line(event: Event) -> str:
    """Return an event as one line of text, without its time and with nothing that a terminal would obey."""
    return visible_line(_line_of(event))


def _line_of(event: Event) -> str:
    match event:
        case Started():
            resumed = f", resumed from job {event.resumed_from}" if event.resumed_from else ""
            return f"{event.stage} started{resumed}"
        case Progress():
            return _progress_line(event)
        case Phase():
            return f"{event.name} …"
        case ItemFailed():
            return f"failed: {event.item}: {_sentence(event.message, event.hint)}"
        case Step():
            return step_line(event)
        case Validation():
            return (
                f"held-out at step {event.step}: loss {event.loss:.3f} (base {event.base_loss:.3f}, "
                f"semantic {event.semantic_loss:.3f}), top-5 {event.top_5_accuracy:.1%}"
            )
        case CheckpointSaved():
            return f"checkpoint {event.path}"
        case MemoryMeasured():
            return _memory_line(event)
        case ClipsListed():
            return f"clips listed: {len(event.clips)}"
        case Log():
            return event.message
        case Warned():
            return f"warning: {_sentence(event.message, event.hint)}"
        case Failed():
            return f"failed: {_sentence(event.message, event.hint)}"
        case Stopped():
            return f"stopped. {event.saved}".rstrip()
        case Finished():
            return "finished"


def step_line(event: Step) -> str:
    """Return a training step as one line."""
    total = f"/{event.total_steps}" if event.total_steps else ""
    parts = [
        f"step {event.step}{total}",
        f"loss {event.loss:.3f} (base {event.base_loss:.3f}, semantic {event.semantic_loss:.3f})",
        f"lr {event.learning_rate:.1e}",
    ]
    if event.tokens_per_second is not None:
        parts.append(f"{event.tokens_per_second:,.0f} tokens/s")
    if event.clip_passes:
        parts.append(f"clip passes {event.clip_passes:.1f}")
    if event.eta is not None:
        parts.append(f"{format_duration(event.eta)} to go")
    return ", ".join(parts)


def _progress_line(event: Progress) -> str:
    amount = format_amount(event.done, event.total, event.unit)
    share = f" ({event.done / event.total:.0%})" if event.total else ""
    extra = f", {event.detail}" if event.detail else ""
    eta = f", {format_duration(event.eta)} to go" if event.eta is not None and event.eta >= 1 else ""
    return f"{event.task}: {amount}{share}{extra}{eta}"


def _memory_line(event: MemoryMeasured) -> str:
    predicted = f"predicted {format_bytes(event.predicted_bytes)}"
    measured = f", measured {format_bytes(event.measured_bytes)}" if event.measured_bytes else ""
    return f"memory on {event.device or 'the device'}: {predicted}{measured}"


def _sentence(message: str, hint: str) -> str:
    return f"{message} {hint}".rstrip()


class LinePrinter:
    """Turns a stream of events into lines: progress and steps at intervals, everything else at once.

    Args:
        write: takes one line without its newline.
        interval: seconds between two lines of progress of the same task, and between two steps.
    """

    def __init__(self, write: Callable[[str], None], interval: float) -> None:
        self._write = write
        self._interval = interval
        self._shown: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, ClipsListed):
            return  # for lists of clips, not for lines
        if isinstance(event, Progress | Step):
            task = event.task if isinstance(event, Progress) else "steps"
            done, total = (
                (event.done, event.total) if isinstance(event, Progress) else (event.step, event.total_steps)
            )
            complete = total is not None and done >= total
            if not complete and time.monotonic() - self._shown.get(task, -self._interval) < self._interval:
                return
            self._shown[task] = time.monotonic()
        self._write(event_line(event))


class LogFile:
    """Appends events to a job's log as lines with their time of day.

    Opened for each line: lines are rare, and the file is also the process's standard output.
    """

    def __init__(self, path: Path, interval: float = 10.0) -> None:
        self._path = path
        self._printer = LinePrinter(self._append, interval)

    def __call__(self, event: Event) -> None:
        self._printer(event)

    def _append(self, line: str) -> None:
        with append_log(self._path) as file:
            file.write(f"{time.strftime('%H:%M:%S')} {redacted(line)}\n")


def append_log(path: Path) -> IO[str]:
    """Open a job's log to append text. Only its owner can read it: libraries may print anything there.

    Raises:
        StorageError: it cannot be opened, or something else is in its place.
    """
    descriptor = open_own(path, os.O_WRONLY | os.O_APPEND, PRIVATE)
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")
