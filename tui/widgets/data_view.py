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
from ..wording import count, decimal, duration, plain
from .choice import Choice
from .clip_list import ClipList
from .finding_list import FindingList
from .plain import PlainHorizontal, PlainVertical
from .table import Table

_VIEWS = (
    ("findings", mark("findings")),
    ("clips", mark("all clips")),
    ("numbers", mark("speakers, lengths and levels")),
)
_WIDE = 90
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
    DataView.-wide #findings-part { margin: 0 0 0 2; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: Sequence[ClipRow] = ()

    def compose(self) -> ComposeResult:
        with Horizontal(id="view-row"):
            yield Label(Text(_("Show")))
            yield Choice(
                [(value, _(label)) for value, label in _VIEWS], "findings", wizard(self).glyphs, id="view"
            )
        with PlainHorizontal(id="top"):
            with PlainVertical(id="numbers-part"):
                yield Table(
                    [
                        (_("speaker"), None, "left"),
                        (_("clips"), 6, "right"),
                        (_("length"), None, "right"),
                        (_("median"), None, "right"),
                        (_("loudness"), None, "right"),
                    ],
                    id="speakers",
                    only_read=True,
                )
                yield Static("", id="histograms", markup=False)
            yield FindingList(id="findings-part")
        yield ClipList(id="clips-part")

    def show_report(self, report: dict[str, Any] | None, rows: list[ClipRow], project: Project) -> None:
        """Show a report of `tui.report` and the clips of its check; None = nothing was checked yet."""
        self._rows = rows
        speakers = report["speakers"] if report else []
        self.query_one("#speakers", Table).show_rows(
            (
                speaker["speaker"],
                (
                    plain(speaker["speaker"]),
                    count(speaker["clips"]),
                    duration(speaker["seconds"]),
                    _("{seconds} s").format(seconds=decimal(speaker["median_seconds"], 1)),
                    f"{decimal(speaker['loudness'], 1)} LUFS",
                ),
            )
            for speaker in speakers
        )
        self.query_one(FindingList).show_findings(report["findings"] if report else None, project.data)
        self.query_one(ClipList).show_clips(rows, project.dataset.exclude)
        self._draw()

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

    def _draw(self) -> None:
        """Draw the histograms as wide as there is room."""
        glyphs = wizard(self).glyphs
        room = self.size.width if self.size.width < _WIDE else self.size.width // 2 - 2
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
