"""A table whose cells are never markup, with numbers on the right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.text import Text
from textual.binding import Binding
from textual.coordinate import Coordinate
from textual.widgets import DataTable
from textual.widgets.data_table import CursorType, RowKey

from ..wording import plain, right

Align = Literal["left", "right"]


class Table(DataTable[Text]):
    """Rows of foreign text.

    Args:
        columns: (heading, width or None = as wide as its cells, alignment) each.
        only_read: nothing can be done with a row, so there is no cursor.
        enter_does: what Enter does with a row, a word for the footer; also an attribute.
    """

    BINDINGS = [
        Binding("home", "scroll_top", show=False),
        Binding("end", "scroll_bottom", show=False),
    ]
    DEFAULT_CSS = """
    Table { height: auto; background: $background; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    Table > .datatable--header { background: $background; color: $text-muted; text-style: bold; }
    Table:ansi > .datatable--header { background: ansi_default; color: ansi_default; }
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, int | None, Align]],
        *,
        id: str | None = None,
        classes: str | None = None,
        only_read: bool = False,
        enter_does: str = "",
    ) -> None:
        cursor: CursorType = "none" if only_read else "row"
        super().__init__(cursor_type=cursor, id=id, classes=classes, cell_padding=1)
        self.can_focus = not only_read
        self.enter_does = enter_does
        self._headings = columns
        self._keys: list[str] = []
        self._return_to = ""
        self._shown: dict[str, tuple[str, ...]] = {}

    def on_mount(self) -> None:
        self._add_columns()

    def show_columns(self, columns: Sequence[tuple[str, int | None, Align]]) -> None:
        """Show other columns; the rows have to be shown anew."""
        self._start_again()
        self.clear(columns=True)
        self._headings = columns
        self._add_columns()

    def _add_columns(self) -> None:
        for heading, width, align in self._headings:
            label = right(heading) if align == "right" else plain(heading)
            self.add_column(label, width=width)

    def show_rows(self, rows: Iterable[tuple[str, Sequence[object | Text]]]) -> None:
        """Show (key, cells) rows; what did not change is neither touched nor sent to the terminal."""
        rows = list(rows)
        if [key for key, _cells in rows[: len(self._keys)]] != self._keys:
            self._start_again()
        for number, (key, cells) in enumerate(rows):
            texts = [self._cell(position, cell) for position, cell in enumerate(cells)]
            signature = tuple(f"{text.plain}\0{text.style}" for text in texts)
            if number >= len(self._keys):
                self.add_row(*texts, key=key)
                self._keys.append(key)
            elif self._shown[key] != signature:
                for position, (old, text) in enumerate(zip(self._shown[key], texts, strict=True)):
                    if old != signature[position]:
                        self.update_cell_at(Coordinate(number, position), text, update_width=True)
            self._shown[key] = signature
        if self._return_to in self._shown:
            self.select_key(self._return_to)
            self._return_to = ""

    def _update_dimensions(self, new_rows: Iterable[RowKey]) -> None:
        super()._update_dimensions(new_rows)
        # What was drawn between the rows' arrival and this has columns of the old widths, and would be kept.
        self._clear_caches()
        self.refresh()

    def _start_again(self) -> None:
        self._return_to = self.chosen or self._return_to
        self.clear()
        self._keys = []
        self._shown = {}

    def _cell(self, position: int, cell: object | Text) -> Text:
        if isinstance(cell, Text):
            return cell
        align = self._headings[position][2]
        return right(cell) if align == "right" else plain(cell)

    @property
    def chosen(self) -> str | None:
        """Key of the row under the cursor, None where the table is empty."""
        return self._keys[self.cursor_row] if 0 <= self.cursor_row < len(self._keys) else None

    @property
    def chosen_text(self) -> str:
        """What stands in the row under the cursor, cells apart by tabs."""
        if self.chosen is None:
            return ""
        return "\t".join(cell.plain for cell in self.get_row_at(self.cursor_row))

    def select_key(self, key: str) -> None:
        """Put the cursor on the row `key`, if there is one."""
        if key in self._shown:
            self.move_cursor(row=self._keys.index(key))
