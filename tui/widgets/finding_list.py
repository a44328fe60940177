"""What a check found: a row per kind with its number, worst first; Enter opens a kind, and then a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import DataTable, Label, Static

from ...core.dataset.findings import Finding, Severity, by_kind
from ..access import wizard
from ..catalogue import _, mark, sentence
from ..finding_titles import title_of
from ..wording import count, plain, right
from .choice import Choice
from .detailed_table import DetailedTable
from .plain import PlainVertical

_FILTERS = (
    ("all", mark("all findings")),
    (Severity.ERROR, mark("errors only")),
    (Severity.WARNING, mark("warnings only")),
)
_MOST_OF_A_KIND = 500


class FindingList(PlainVertical):
    """Groups of findings; one that is alone needs no opening."""

    DEFAULT_CSS = """
    FindingList { height: 1fr; }
    FindingList #filter-row { height: 1; }
    FindingList #filter-row Label { padding: 0 2 0 0; text-style: bold; }
    FindingList DetailedTable { height: auto; max-height: 1fr; }
    FindingList #findings { max-height: 100%; }
    FindingList .quiet { color: $text-muted; height: auto; }
    """

    class Opened(Message):
        """A finding is to be looked at."""

        def __init__(self, finding: Finding) -> None:
            super().__init__()
            self.finding = finding

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._findings: Sequence[Finding] | None = None
        self._data = Path()
        self._open: set[str] = set()
        """Kinds whose findings are shown."""
        self._rows: dict[str, Finding] = {}
        """The findings that have a row of their own, by its key."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="filter-row"):
            yield Label(Text(_("Findings")))
            options = [(str(value), _(label)) for value, label in _FILTERS]
            yield Choice(options, "all", wizard(self).glyphs, id="filter")
        table = DetailedTable(
            [(_("state"), None, "left"), ("", None, "right"), (_("what"), None, "left")],
            id="findings",
            enter_does=_("Open"),
        )
        table.display = False
        yield table
        yield Static(Text(_not_checked()), id="findings-note", classes="quiet", markup=False)

    def show_findings(self, findings: Sequence[Finding] | None, data: Path) -> None:
        """Show what a check of the folder `data` found; None = nothing was checked yet."""
        self._findings, self._data = findings, data
        self._show()

    @property
    def chosen(self) -> Finding | None:
        """The finding under the cursor."""
        return self._rows.get(self.query_one(DetailedTable).table.chosen or "")

    def _show(self) -> None:
        wanted = self.query_one("#filter", Choice).value
        found = [item for item in self._findings or () if wanted in ("all", item.severity)]
        self._rows = {}
        table = self.query_one(DetailedTable)
        table.show_rows(row for group in by_kind(found) for row in self._rows_of(group))
        table.display = bool(found)
        if self._findings is None:
            text = _not_checked()
        elif not self._findings:
            text = _("Nothing is wrong with these recordings.")
        else:
            text = _("Enter opens a kind, and shows a clip.")
        self.query_one("#findings-note", Static).update(Text(text))

    def _rows_of(self, group: list[Finding]) -> Iterator[tuple[str, tuple[Text, ...], str]]:
        first = group[0]
        sign = self._sign(first.severity)
        key = f"{first.severity} {first.code}"
        if len(group) == 1:
            self._rows[key] = first
            yield key, (sign, right(""), plain(self._named(first))), _in_full(first)
            return
        is_open = key in self._open
        title = f"{_(title_of(first.code))}{'' if is_open else ' …'}"
        yield key, (sign, right(f"{count(len(group))} ×"), plain(title)), _in_full(first)
        for number, item in enumerate(group[:_MOST_OF_A_KIND] if is_open else ()):
            inner = f"{key} {number}"
            self._rows[inner] = item
            yield inner, (Text(""), right(""), plain(f"  {self._named(item)}")), _in_full(item)

    def _sign(self, severity: Severity) -> Text:
        glyphs = wizard(self).glyphs
        if severity is Severity.ERROR:
            return plain(f"{glyphs.failed} {_('error')}", "bold")
        return plain(f"{glyphs.stale} {_('warning')}")

    def _named(self, item: Finding) -> str:
        what, path, data = sentence(item.what), item.path, self._data
        inside = str(path.relative_to(data) if path.is_relative_to(data) and path != data else path)
        what = what.replace(str(path), inside)
        return what if path == data or path.name in what else f"{inside}: {what}"

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._show()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        event.stop()
        key = str(event.row_key.value)
        if key in self._rows:
            self.post_message(self.Opened(self._rows[key]))
        else:
            self._open ^= {key}
            self._show()


def _not_checked() -> str:
    return _("Nothing is checked yet.")


def _in_full(item: Finding) -> str:
    return f"{sentence(item.what)}\n→ {sentence(item.what_to_do)}"
