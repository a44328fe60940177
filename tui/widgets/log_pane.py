"""A job's log: the newest lines, selectable with the mouse; the whole of it one key away."""

from __future__ import annotations

from collections.abc import Iterable

from textual.widgets import Log

from ..wording import harmless

MOST_LINES = 2000
LONGEST_LINE = 400


class LogPane(Log):
    """The last 2000 lines. Written in batches: line by line costs ten times the bytes on a link."""

    DEFAULT_CSS = """
    LogPane { height: 1fr; min-height: 4; background: $surface; scrollbar-size: 0 1; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(max_lines=MOST_LINES, auto_scroll=True, id=id, classes=classes)

    def add(self, lines: Iterable[str]) -> None:
        """Append lines in one go; follows the end unless the person scrolled up."""
        batch = [harmless(line, LONGEST_LINE) for line in lines][-MOST_LINES:]
        if batch:
            at_end = self.scroll_offset.y >= self.max_scroll_y - 1
            self.write_lines(batch, scroll_end=at_end)
