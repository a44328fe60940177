"""The table to choose a checkpoint from: the cursor is the choice, and what it is on explains itself."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import DataTable, Static

from ..access import wizard
from ..candidates import Choosing, Row, RowKind, explain_row
from ..catalogue import _, sentence
from ..measured import Measured, columns_of, explain_column
from ..wording import harmless, plain, right
from .table import Align, Table

_NAME = 14
"""Cells of a name at least: `step 100 × 0.5`."""
_SIGN = 3
"""Cells of the first column, with the space beside it."""


class _Candidates(Table):
    """Left and right go through the columns, which are explained one at a time."""

    BINDINGS = [
        Binding("left", "explain(-1)", show=False),
        Binding("right", "explain(1)", show=False),
    ]

    class Turned(Message):
        """Another column is to be explained."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def action_explain(self, by: int) -> None:
        self.post_message(self.Turned(by))

    def mark_column(self, marked: int) -> None:
        """Show which column is explained."""
        for position, column in enumerate(self.ordered_columns):
            label = column.label
            label.style = "reverse" if position == marked else ""
            column.label = label
        self.notify_style_update()


class Picker(Vertical):
    """Rows of `Choosing`; the row under the cursor is the one that is chosen."""

    DEFAULT_CSS = """
    Picker { height: auto; }
    Picker #candidates { max-height: 40vh; }
    Picker Static { height: auto; padding: 0 1; }
    Picker #will { margin: 1 0 0 0; text-style: bold; }
    Picker #of-column { color: $text-muted; }
    Picker #advice { margin: 1 0 0 0; display: none; }
    Picker #advice.-shown { display: block; }
    """

    class Moved(Message):
        """The cursor came to another row."""

        def __init__(self, by_user: bool) -> None:
            super().__init__()
            self.by_user = by_user

    class Confirmed(Message):
        """Enter was pressed on a row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._choosing = Choosing()
        self._columns: list[Measured] = []
        self._room = 0
        self._explained = "faulty"
        """Which column is explained, where it is there."""
        self._user_at = ""
        """Where the user put the cursor; "" = nowhere yet."""
        self._placed_at = ""
        """Where it was put last by anything else."""

    def compose(self) -> ComposeResult:
        yield _Candidates(self._headings(), id="candidates", enter_does=_("Keep"))
        yield Static("", id="will", markup=False)
        yield Static("", id="of-row", markup=False)
        yield Static("", id="of-column", markup=False)
        yield Static("", id="advice", markup=False)

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        chosen = self.query_one("#candidates", Table).chosen
        return next((row for row in self._choosing.rows if row.key == chosen), None)

    def show(self, choosing: Choosing, otherwise: str) -> None:
        """Show rows.

        Args:
            otherwise: key of the row that the cursor goes to where the user has not moved it.
        """
        self._choosing = choosing
        self._show()
        keys = {row.key for row in choosing.rows}
        table = self.query_one("#candidates", Table)
        wanted = self._user_at if self._user_at in keys else otherwise
        if wanted in keys and table.chosen != wanted:
            table.select_key(wanted)
        self._placed_at = table.chosen or ""
        self._tell()

    def choose(self, key: str) -> None:
        """Put the cursor on a row; it stays there as if the user had moved it."""
        self._user_at = self._placed_at = key
        self.query_one("#candidates", Table).select_key(key)

    def say_will(self, text: str) -> None:
        """Say what becomes of the row under the cursor."""
        self._say("#will", text)

    def _show(self) -> None:
        columns = columns_of(self._choosing.rows, self._room)
        table = self.query_one("#candidates", Table)
        if [column.id for column in columns] != [column.id for column in self._columns]:
            self._columns = columns
            table.show_columns(self._headings())
            self._mark()
        table.show_rows((row.key, self._cells(row)) for row in self._choosing.rows)

    def _headings(self) -> list[tuple[str, int | None, Align]]:
        named: list[tuple[str, int | None, Align]] = [("", 1, "left"), (_("checkpoint"), None, "left")]
        return [*named, *((_(column.heading), column.room, "right") for column in self._columns)]

    def _cells(self, row: Row) -> list[Text]:
        recommended = row.key == self._choosing.recommended
        style = "bold" if recommended else "" if row.can_be_merged else "dim"
        sign = wizard(self).glyphs.chosen if recommended else " "
        name = row.name if row.kind is RowKind.ELSEWHERE else row.name + " " * (_NAME - cell_len(row.name))
        missing = "" if row.kind is RowKind.ANOTHER else "–"
        values = [right(column.value(row) or missing, style) for column in self._columns]
        return [plain(sign, style), plain(name, style), *values]

    def on_resize(self, _event: events.Resize) -> None:
        """Show as many columns as there is room for."""
        self._room = self.size.width - _SIGN - (_NAME + 2)
        self._show()

    # what is explained

    @property
    def _column(self) -> int:
        """Place of the explained column among those that are shown."""
        ids = [column.id for column in self._columns]
        return ids.index(self._explained) if self._explained in ids else 0

    def on__candidates_turned(self, event: _Candidates.Turned) -> None:
        event.stop()
        if self._columns:
            self._explained = self._columns[(self._column + event.by) % len(self._columns)].id
            self._mark()
            self._tell()

    def _mark(self) -> None:
        self.query_one(_Candidates).mark_column(2 + self._column if self._columns else -1)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        # Rows that are shown anew are highlighted, too, and told of later: what counts is where it is now.
        at = self.query_one("#candidates", Table).chosen or ""
        by_user = event.data_table.has_focus and at != self._placed_at
        if by_user:
            self._user_at, self._placed_at = at, ""
        self._tell()
        self.post_message(self.Moved(by_user))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        self._user_at = str(event.row_key.value)
        if self.row is not None:
            self.post_message(self.Confirmed(self.row))

    def _tell(self) -> None:
        row, rows = self.row, self._choosing.rows
        of_row = explain_row(row, self._choosing) if row and len(rows) > 1 else ""
        self._say("#of-row", of_row)
        has_values = row is not None and row.kind is not RowKind.ANOTHER and bool(self._columns)
        told = explain_column(self._columns[self._column], row, rows) if row and has_values else ""
        glyphs = wizard(self).glyphs
        self._say("#of-column", told and f"{glyphs.left} {glyphs.right} {told}")
        advice = self._advice()
        self._say("#advice", advice)
        self.query_one("#advice").set_class(bool(advice), "-shown")

    def _advice(self) -> str:
        """Return which one is recommended and why, and what nobody could judge."""
        best = self._choosing.recommendation
        lines = [sentence(each) for each in self._choosing.not_judged]
        if best is not None:
            step = f"{best.candidate.step:,}"
            lines.insert(0, _("Recommended: step {step}.").format(step=step) + " " + sentence(best.reason))
        return "\n".join(lines)

    def _say(self, where: str, text: str) -> None:
        line = self.query_one(where, Static)
        shown = "\n".join(harmless(part, 1000) for part in text.splitlines())
        if str(line.content) != shown:
            line.update(Text(shown))
