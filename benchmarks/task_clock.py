"""When each task of a stage was last heard of, for benchmarks that say how long its parts take."""

from __future__ import annotations

from fishtune.core.events import Event, Progress, Reporter


class TaskClock(Reporter):
    """Keeps the time of the last progress of each task."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, float] = {}

    def emit(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Progress):
            self.last[event.task] = event.time
