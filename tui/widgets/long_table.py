"""A table of very many rows: only those that are seen are made, so ten thousand cost what twenty do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..wording import fit

Column = tuple[str, int | None, Literal["left", "right"]]
"""Heading, cells (None = what the others leave), alignment."""


class LongTable(ScrollView, can_focus=True):
    """Rows of foreign text with a cursor; Enter or a click chooses one.

    Args:
        columns: one of them has no width of its own and takes the rest.
        cells_of: gives the cells of a row by its place; called for what is seen.
        enter_does: what Enter does with a row, a word for the footer; also an attribute.
    """

    COMPONENT_CLASSES = {"long-table--heading", "long-table--cursor"}
    DEFAULT_CSS = """
    LongTable { height: 1fr; min-height: 3; background: $background; scrollbar-size-vertical: 1;
        overflow-x: hidden; overflow-y: auto; }
    LongTable > .long-table--heading { color: $text-muted; text-style: bold; }
    LongTable > .long-table--cursor { text-style: bold; background: $panel; }
    LongTable:focus > .long-table--cursor { text-style: bold reverse; }
    """
    BINDINGS = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "go(0)", show=False),
        Binding("end", "go(-1)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        """Enter was pressed on a row, or it was clicked while the cursor was there."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    class Moved(Message):
        """The cursor is on another row."""

    def __init__(
        self,
        columns: Sequence[Column],
        cells_of: Callable[[int], Sequence[str]],
        *,
        id: str | None = None,
        enter_does: str = "",
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._cells_of = cells_of
        self.enter_does = enter_does
        self.row_count = 0
        self.cursor = 0

    def show(self, rows: int, cursor: int = 0) -> None:
        """Show other rows, so many, with the cursor on one of them."""
        self.row_count = rows
        self.virtual_size = Size(self.size.width, rows + 1)
        self.cursor = min(max(cursor, 0), max(rows - 1, 0))
        self._keep_in_sight()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return one line: the headings stay on top while the rows scroll."""
        width = self.size.width
        if y == 0:
            style = self.get_component_rich_style("long-table--heading")
            return self._strip([heading for heading, _, _ in self._columns], width).apply_style(style)
        row = self.scroll_offset.y + y - 1
        if row >= self.row_count:
            return Strip.blank(width, self.rich_style)
        strip = self._strip(self._cells_of(row), width)
        marked = row == self.cursor
        style = self.get_component_rich_style("long-table--cursor") if marked else self.rich_style
        return strip.apply_style(style)

    def _strip(self, cells: Sequence[str], width: int) -> Strip:
        taken = sum(size for _, size, _ in self._columns if size is not None) + len(self._columns)
        text = ""
        for cell, (_heading, size, align) in zip(cells, self._columns, strict=True):
            room = max(width - taken, 4) if size is None else size
            shown = fit(cell, room)
            gap = " " * (room - cell_len(shown))
            text += (gap + shown if align == "right" else shown + gap) + " "
        return Strip([Segment(text)]).adjust_cell_length(width)

    def action_move(self, by: int) -> None:
        self._to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._to(self.cursor + by * max(self.size.height - 2, 1))

    def action_go(self, row: int) -> None:
        self._to(row if row >= 0 else self.row_count - 1)

    def action_choose(self) -> None:
        if self.row_count:
            self.post_message(self.Chosen(self.cursor))

    def _to(self, row: int) -> None:
        self.cursor = min(max(row, 0), max(self.row_count - 1, 0))
        self._keep_in_sight()
        self.refresh()
        self.post_message(self.Moved())

    def _keep_in_sight(self) -> None:
        top, seen = self.scroll_offset.y, max(self.size.height - 1, 1)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + seen:
            self.scroll_to(y=self.cursor - seen + 1, animate=False, immediate=True)

    def on_resize(self, _event: events.Resize) -> None:
        """Keep the cursor in sight in another size."""
        self.virtual_size = Size(self.size.width, self.row_count + 1)
        self._keep_in_sight()

    def on_click(self, event: events.Click) -> None:
        row = self.scroll_offset.y + event.y - 1
        if event.y == 0 or row >= self.row_count:
            return
        if row == self.cursor:
            self.action_choose()
        else:
            self._to(row)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Draw all lines anew: the heading must not scroll with them."""
        super().watch_scroll_y(old_value, new_value)
        self.refresh(Region(0, 0, self.size.width, self.size.height))
