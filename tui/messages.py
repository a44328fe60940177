"""What watching threads tell the screens. They never touch widgets; they post these.

A message that says "it is like this now" replaces an older one of its kind that still waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from ..core.hardware.readings import GpuReading
    from ..core.jobs.record import Job, JobState
    from ..core.pipeline.steps import StepName
    from .project_state import ProjectState
    from .run_view import RunView


MOST_LOG_LINES = 2000
"""As many of the newest lines of a job's log are kept and shown."""


class GpusRead(Message, bubble=False):
    """A new reading of the GPUs."""

    def __init__(self, reading: GpuReading) -> None:
        super().__init__()
        self.reading = reading

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, GpusRead)


class ProjectRead(Message, bubble=False):
    """The disk was looked at; `file_changed`: the project file says something else than when it was read."""

    def __init__(self, state: ProjectState, file_changed: bool = False) -> None:
        super().__init__()
        self.state = state
        self.file_changed = file_changed

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, ProjectRead)


class JobChanged(Message, bubble=False):
    """A followed job said something or ended; `view` is shared, look at it under its lock."""

    def __init__(self, step: StepName, job: Job, state: JobState, view: RunView) -> None:
        super().__init__()
        self.step = step
        self.job = job
        self.state = state
        self.view = view

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, JobChanged) and message.job.id == self.job.id


class LogGrown(Message, bubble=False):
    """New lines of a job's log; at most two of these a second."""

    def __init__(self, job: str, lines: list[str]) -> None:
        super().__init__()
        self.job = job
        self.lines = lines
