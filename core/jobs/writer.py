"""Writing the events of a job: one `write` a line, and exactly one last event."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import StorageError
from ..events import LAST_EVENTS, Event, Reporter, encode_event
from ..owned import open_own
from ..redact import redacted

Listener = Callable[[Event], None]
_RESERVE_BYTES = 1 << 14
"""Room kept for the last event, so that it can be written when the disk is full."""


class EventWriter:
    """Appends events to a file, each with a single `write` to a descriptor in append mode.

    Nothing is taken after the last event. Usable from several threads.

    Raises:
        StorageError: the file cannot be made, or something else is in its place.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_own(path, os.O_RDWR | os.O_APPEND)
        self._reserve = path.with_name(".reserve")
        with contextlib.suppress(OSError, StorageError):
            # A disk that is full already fails the stage, not the reserve.
            reserve = open_own(self._reserve, os.O_WRONLY | os.O_TRUNC)
            try:
                os.write(reserve, os.urandom(_RESERVE_BYTES))
            finally:
                os.close(reserve)
        self._lock = threading.Lock()
        self._torn = _ends_torn(self._descriptor)  # by a writer that was killed
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the last event was taken."""
        return self._ended

    def write(self, event: Event) -> None:
        """Append one event. Never raises: what cannot be written must not end the work."""
        # From a signal handler's thread the lock may be held by work that will not go on.
        acquired = self._lock.acquire(timeout=1.0)
        try:
            if self._ended:
                return
            last = isinstance(event, LAST_EVENTS)
            if last:
                self._ended = True
                with contextlib.suppress(OSError):
                    self._reserve.unlink(missing_ok=True)
            line = redacted(encode_event(event).decode()).encode()
            with contextlib.suppress(OSError):
                # A line that a full disk cut short is closed off, so that the next one stays whole.
                content = b"\n" + line if self._torn else line
                self._torn = True
                while content:
                    content = content[os.write(self._descriptor, content) :]
                self._torn = False
                if last:
                    os.fsync(self._descriptor)
        finally:
            if acquired:
                self._lock.release()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
        os.close(self._descriptor)


def _ends_torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if not size:
        return False
    os.lseek(descriptor, size - 1, os.SEEK_SET)  # appending does not care where this leaves it
    return os.read(descriptor, 1) != b"\n"


class JobReporter(Reporter):
    """Gives a stage's events to the job's file and to whoever looks on in this process.

    A listener that raises an `OSError` (its terminal is gone) or `ValueError` (its stream was closed) is
    not called again; the work goes on.
    """

    def __init__(self, writer: EventWriter | None, listeners: Sequence[Listener] = ()) -> None:
        super().__init__()
        self._writer = writer
        self._listeners = list(listeners)

    def emit(self, event: Event) -> None:
        """Write one event, unless a last one is written, and give it to the listeners."""
        if self._writer is not None:
            if self._writer.ended:
                return
            self._writer.write(event)
        for listener in list(self._listeners):
            try:
                listener(event)
            except (OSError, ValueError, StorageError):
                with contextlib.suppress(ValueError):  # another thread has just removed it
                    self._listeners.remove(listener)
