"""A table whose row under the cursor is told in full below it: cells are cut, what they say is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from ..wording import harmless
from .table import Align, Table

_LONGEST = 1500


class DetailedTable(Vertical):
    """Takes what its `Table` takes."""

    DEFAULT_CSS = """
    DetailedTable { height: auto; }
    DetailedTable .detail { height: auto; max-height: 6; color: $text-muted; padding: 0 1; display: none; }
    DetailedTable .detail.-shown { display: block; }
    """

    def __init__(
        self, columns: Sequence[tuple[str, int | None, Align]], *, id: str, enter_does: str = ""
    ) -> None:
        super().__init__(id=f"detailed-{id}")
        self.table = Table(columns, id=id, enter_does=enter_does)
        self._details: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield self.table
        yield Static("", classes="detail", markup=False)

    def show_rows(self, rows: Iterable[tuple[str, Sequence[object | Text], str]]) -> None:
        """Show (key, cells, what to tell below the table) rows."""
        rows = list(rows)
        self._details = {key: detail for key, _cells, detail in rows}
        self.table.show_rows((key, cells) for key, cells, _detail in rows)
        self._tell()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if event.data_table is self.table:
            self._tell()

    def _tell(self) -> None:
        detail = self._details.get(self.table.chosen or "", "")
        line = self.query_one(".detail", Static)
        text = "\n".join(harmless(part, _LONGEST) for part in detail.splitlines())
        if str(line.content) != text:
            line.update(Text(text))
            line.set_class(bool(text), "-shown")
