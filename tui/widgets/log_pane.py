"""A job's log: the newest lines, selectable with the mouse; the whole of it one key away."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual.binding import Binding
from textual.widgets import Log

from ..messages import MOST_LOG_LINES
from ..wording import harmless

LONGEST_LINE = 400


class LogPane(Log):
    """The last 2000 lines. Written in batches: line by line costs ten times the bytes on a link."""

    BINDINGS = [Binding("enter", "screen.leave_log", show=False)]
    DEFAULT_CSS = """
    LogPane { height: 1fr; min-height: 4; background: $surface; scrollbar-size: 0 1; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(max_lines=MOST_LOG_LINES, auto_scroll=True, id=id, classes=classes)
        self._follows = True

    def add(self, lines: Iterable[str]) -> None:
        """Append lines in one go; follows the end unless the user scrolled up."""
        batch = [harmless(line, LONGEST_LINE) for line in lines][-MOST_LOG_LINES:]
        if batch:
            # Where the end is cannot be asked now: another size may have moved it under the same offset.
            self.write_lines(batch, scroll_end=False)
            self._to_end()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Stop following once the user scrolls up; go on once they are back at the end."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = new_value >= self.max_scroll_y - 1

    def start_again(self) -> None:
        """Forget the lines, another log begins."""
        self.clear()
        self._follows = True

    def on_resize(self, _event: events.Resize) -> None:
        """Keep to the end in another size, and where the log is shown again."""
        self._to_end()

    def _to_end(self) -> None:
        if self._follows and not self.is_vertical_scrollbar_grabbed:
            self.scroll_end(animate=False, immediate=True, x_axis=False)
