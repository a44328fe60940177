"""What is in a data set: speakers, lengths and levels; what is wrong with it; all of its clips.

Beside one another where there is room, else one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Label, Static

from ...core.config.project import Project
from ...core.dataset.rows import ClipRow
from ..access import wizard
from ..catalogue import _, mark
from ..histogram import beside, binned, drawn
from ..wording import count, decimal, duration, fit, plain
from .choice import Choice
from .clip_list import ClipList
from .finding_list import FindingList
from .panel import panel
from .plain import PlainHorizontal, PlainVertical
from .table import Table

_VIEWS = (
    ("findings", mark("findings")),
    ("clips", mark("all clips")),
    ("numbers", mark("speakers, lengths and levels")),
)
_WIDE = 90
_NUMBERS_SHARE, _FRAME = 55, 4
"""Percent of the width that speakers and histograms have beside the findings; cells of their frame."""
_OTHER_COLUMNS, _SHORTEST_NAME = 38, 8
"""Cells of the other columns of the speakers' table, and of a name at least."""
_LEAST_LENGTH, _LEAST_LEVEL = 0.5, 0.5
"""Seconds and LU that a bar stands for at least."""
_LEAST_BESIDE = 44
"""Cells that two histograms need beside each other."""


class DataView(PlainVertical):
    """Shows the report of the newest check and its clips."""

    DEFAULT_CSS = """
    DataView { height: 1fr; min-height: 10; }
    DataView #view-row { height: 1; margin: 0 0 1 0; }
    DataView #view-row Label { padding: 0 2 0 0; text-style: bold; }
    DataView #top { height: 1fr; }
    DataView #numbers-part { height: 1fr; width: 1fr; overflow-y: auto; scrollbar-size-vertical: 1; }
    DataView #speakers { max-height: 7; }
    DataView #histograms { height: auto; margin: 1 0 0 0; }
    DataView #findings-part { width: 1fr; }
    DataView.-wide #view-row { display: none; }
    DataView.-wide #top { margin: 0 0 1 0; }
    DataView.-wide #numbers-part { width: 55%; }
    DataView.-wide #findings-part { margin: 0 0 0 2; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[ClipRow] = ()
        self._speakers: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        with Horizontal(id="view-row"):
            yield Label(Text(_("Show")))
            yield Choice(
                [(value, _(label)) for value, label in _VIEWS], "findings", wizard(self).glyphs, id="view"
            )
        with PlainHorizontal(id="top"):
            with panel(PlainVertical(id="numbers-part"), _("Speakers, lengths and levels")):
                yield Table(
                    [
                        (_("speaker"), None, "left"),
                        (_("clips"), 6, "right"),
                        (_("length"), 10, "right"),
                        (_("median"), 6, "right"),
                        ("LUFS", 5, "right"),
                    ],
                    id="speakers",
                    only_read=True,
                )
                yield Static("", id="histograms", markup=False)
            yield panel(FindingList(id="findings-part"), _("Findings"))
        yield panel(ClipList(id="clips-part"), _("All clips"))

    def show_report(self, report: dict[str, Any] | None, rows: list[ClipRow], project: Project) -> None:
        """Show a report of `tui.report` and the clips of its check; None = nothing was checked yet."""
        self._rows, self._speakers = rows, report["speakers"] if report else []
        self.query_one(FindingList).show_findings(report["findings"] if report else None, project.data)
        self.query_one(ClipList).show_clips(rows, project.dataset.exclude)
        self._draw()

    def _show_speakers(self) -> None:
        self.query_one("#speakers", Table).show_rows(
            (
                speaker["speaker"],
                (
                    plain(fit(speaker["speaker"], self._name_room)),
                    count(speaker["clips"]),
                    duration(speaker["seconds"]),
                    _("{seconds} s").format(seconds=decimal(speaker["median_seconds"], 1)),
                    decimal(speaker["loudness"], 1),
                ),
            )
            for speaker in self._speakers
        )

    def show_choice(self, project: Project) -> None:
        """Show which clips are to be left out now."""
        self.query_one(ClipList).show_clips(list(self._rows), project.dataset.exclude)

    def search(self) -> None:
        """Show the list of clips with the focus in its search."""
        self.query_one("#view", Choice).value = "clips"
        self._arrange()
        self.query_one(ClipList).search()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._arrange()

    def on_resize(self, _event: events.Resize) -> None:
        """Put side by side what there is room for."""
        self._arrange()
        self._draw()

    def _arrange(self) -> None:
        wide, view = self.size.width >= _WIDE, self.query_one("#view", Choice).value
        self.set_class(wide, "-wide")
        for part, _label in _VIEWS:
            self.query_one(f"#{part}-part").display = wide or part == view
        self.query_one("#top").display = wide or view != "clips"

    @property
    def _room(self) -> int:
        """Cells of speakers and histograms."""
        if self.size.width < _WIDE:
            return self.size.width
        return self.size.width * _NUMBERS_SHARE // 100 - _FRAME

    @property
    def _name_room(self) -> int:
        """Cells of a speaker's name, so that a long one pushes nothing off the page."""
        return max(self._room - _OTHER_COLUMNS, _SHORTEST_NAME)

    def _draw(self) -> None:
        """Draw speakers and histograms as wide as there is room."""
        self._show_speakers()
        glyphs, room = wizard(self).glyphs, self._room
        lengths = binned([row.seconds for row in self._rows if row.seconds], _LEAST_LENGTH)
        levels = binned([row.loudness for row in self._rows if row.loudness is not None], _LEAST_LEVEL)
        both = room >= _LEAST_BESIDE
        width = room // 2 - 1 if both else room
        left = drawn(glyphs, _("length"), lengths, width, "s")
        right = drawn(glyphs, _("level"), levels, width, "LUFS")
        text = Text("")
        if self._rows:
            text = beside(left, right, room // 2) if both else Text("\n\n").join([left, right])
        self.query_one("#histograms", Static).update(text)
