"""A reporter that keeps what a stage told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fishtune.core.events import Event, Reporter

E = TypeVar("E")


class Recorder(Reporter):
    """Keeps every event; may be told to ask for a stop, or do anything else, at an event."""

    def __init__(self, at: Callable[[Event], None] | None = None) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._at = at

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if self._at is not None:
            self._at(event)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]
