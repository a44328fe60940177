"""Telling somebody elsewhere: a webhook that the project's `[notify]` names gets a message about its jobs.

The address is a secret. It is read from the project file by the process that uses it, hidden from whatever
that process writes (`redact.hide`), and what goes wrong is told without it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from ..config.project import PROJECT_FILE, Project
from ..config.settings import NotifyOptions
from ..errors import FishtuneError
from ..events import LAST_EVENTS, Event, Failed, Finished, Log, Started, Stopped, Warned
from ..redact import hide
from .record import Job
from .writer import Listener


def notifiers_of(job: Job, tell: Callable[[Event], None]) -> list[Listener]:
    """Return what tells of a job as the project around it asks; empty where it asks for nothing.

    Args:
        tell: takes a log event about a message that could not be delivered.
    """
    file = job.folder.parents[2].parent / PROJECT_FILE
    try:
        options = Project.load(file).notify if file.is_file() else NotifyOptions()
    except (FishtuneError, OSError):  # whoever starts a stage of the project says what is wrong with it
        return []
    if options.webhook is None:
        return []
    hide(options.webhook)
    return [_Notifier(job, options, options.webhook, tell)]


class _Notifier:
    """Posts a message for each event that somebody asked to be told of.

    Each is sent by a thread of its own, since training must not wait; the last event waits for all of them,
    as long as the webhook may take.
    """

    def __init__(self, job: Job, options: NotifyOptions, address: str, tell: Callable[[Event], None]) -> None:
        self._job = job
        self._options = options
        self._address = address
        self._tell = tell
        self._began = time.monotonic()
        self._sending: list[threading.Thread] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._began = time.monotonic()
        message = self._message_of(event)
        if message is not None:
            thread = threading.Thread(target=self._send, args=(message,), daemon=True, name="webhook")
            thread.start()
            self._sending.append(thread)
        if isinstance(event, LAST_EVENTS):
            self._finish()

    def _message_of(self, event: Event) -> dict[str, Any] | None:
        """Return what the webhook is told of an event; None = nothing."""
        is_long = time.monotonic() - self._began >= 60 * self._options.after_minutes
        stage, run = self._job.record.stage, self._job.folder.parents[1].name
        match event:
            case Finished() if self._options.end and is_long:
                return self._content("end", f"{run}: {stage} is done.", event)
            case Stopped(saved=saved) if self._options.end and is_long:
                return self._content("end", f"{run}: {stage} was stopped. {saved}".strip(), event)
            case Failed(message=message, hint=hint) if self._options.failure:
                return self._content("failure", f"{run}: {stage} failed. {message}", event, hint)
            case Warned(message=message, hint=hint, guard=True) if self._options.guard:
                return self._content("guard", f"{run}: {message}", event, hint)
        return None

    def _content(self, what: str, text: str, event: Event, hint: str = "") -> dict[str, Any]:
        return {
            "event": what,
            "text": text,  # what chat services show
            "hint": str(hint),
            "run": self._job.folder.parents[1].name,
            "stage": self._job.record.stage,
            "job": self._job.id,
            "host": socket.gethostname(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.time)),
        }

    def _send(self, message: dict[str, Any]) -> None:
        from .webhook import post_json  # the HTTP client takes a fiftieth of a second to import

        problem = post_json(self._address, message, self._options.timeout)
        if problem:
            self._tell(Log(message=f"The webhook was not told ({problem})."))

    def _finish(self) -> None:
        deadline = time.monotonic() + self._options.timeout
        for thread in self._sending:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._sending):
            self._tell(Log(message="The webhook was not told (it did not answer in time)."))
