"""Step 4: shards, what went in and what did not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text
from textual.widget import Widget
from textual.widgets import Static

from ...core.codec.config import FRAME_RATE
from ...core.config.settings import PackSettings
from ...core.errors import FishtuneError
from ...core.jobs.record import JobState
from ...core.messages import from_data
from ...core.pipeline.steps import StepName
from ...core.shards.manifest import MANIFEST_FILE
from ...core.stages.registry import StageName
from ...core.tables import read_json
from ..access import wizard
from ..catalogue import _, ngettext, sentence
from ..glyphs import Glyphs
from ..histogram import Bar, drawn
from ..project_state import ShownStep
from ..trouble import in_thread
from ..widgets.detailed_table import DetailedTable
from ..widgets.form import Field
from ..widgets.panel import panel
from ..widgets.plain import PlainVertical
from ..widgets.quiet_line import QuietLine
from ..widgets.table import Table
from ..wording import count, duration, harmless, plain, size
from .stage import StagePane

_WIDE = 90  # cells


class PackPane(StagePane):
    """The settings, and what the packed data set holds."""

    step = StepName.PACK
    stage = StageName.PACK
    fields = (
        Field("pack", "text_extension"),
        Field("pack", "shard_size"),
        Field("pack", "num_workers"),
    )
    DEFAULT_CSS = """
    PackPane #packed { height: auto; layout: vertical; }
    PackPane #packed > PlainVertical { height: auto; width: 1fr; }
    PackPane #packed-speakers { max-height: 8; margin: 1 0 0 0; }
    PackPane #packed-dropped { max-height: 8; }
    PackPane DetailedTable { margin: 1 0 0 0; }
    PackPane #packed-lengths { height: auto; margin: 1 0 0 0; }
    PackPane.-wide #packed { layout: horizontal; }
    PackPane.-wide #packed-lengths { margin: 1 0 0 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown_at: float | None = None
        self._result: dict[str, Any] | None = None

    def compose_below_form(self) -> Iterable[Widget]:
        yield QuietLine(id="where")
        yield Static("", id="packed-totals", classes="heading", markup=False)
        with PlainVertical(id="packed"):
            with PlainVertical():
                speakers = Table(
                    [
                        (_("speaker"), None, "left"),
                        (_("sentences"), None, "right"),
                        (_("left out"), None, "right"),
                        (_("audio"), None, "right"),
                    ],
                    id="packed-speakers",
                )
                yield panel(speakers, _("Speakers"))
                dropped = DetailedTable(
                    [(_("left out"), None, "left"), (_("why"), None, "left")], id="packed-dropped"
                )
                yield panel(dropped, _("Left out"))
            with PlainVertical():
                yield panel(Static("", id="packed-lengths", markup=False), _("Lengths"))

    def show_status(self, status: ShownStep) -> None:
        super().show_status(status)
        self.query_one(QuietLine).say(self._where())
        file = self.project.protos / MANIFEST_FILE
        try:
            modified = file.stat().st_mtime
        except OSError:
            modified = None
        if modified is None or modified != self._shown_at:
            self._shown_at = modified
            in_thread(self, self._read, self.notice.show_error, "manifest")

    def _where(self) -> str:
        """Return where the shards go, to be known before they are made."""
        return _(
            "Shards are written to {folder}. What was packed there before stays until the new ones are whole."
        ).format(folder=self.near(self.project.protos))

    def on_resize(self) -> None:
        """Put side by side what there is room for, and draw the bars as long as there is room."""
        self.set_class(self.size.width >= _WIDE, "-wide")
        self._show_result(self._result)

    def _read(self) -> None:
        # A manifest names every clip: megabytes for a large set, so not in the screen's own thread.
        try:
            result = read_json(self.project.protos / MANIFEST_FILE)["result"]
        except (FishtuneError, KeyError, TypeError):
            result = None
        self.app.call_from_thread(self._show_result, result)

    def _show_result(self, result: dict[str, Any] | None) -> None:
        try:
            self._draw_result(result)
            self._result = result
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            self._result = None
            self._draw_result(None)
            self.notice.show_warning(
                _("{file} is damaged.").format(file=harmless(self.project.protos / MANIFEST_FILE)),
                _("Pack again."),
            )

    def _draw_result(self, result: dict[str, Any] | None) -> None:
        speakers = self.query_one("#packed-speakers", Table)
        dropped = self.query_one("#detailed-packed-dropped", DetailedTable)
        speakers.display = dropped.display = result is not None
        self.query_one("#packed-totals", Static).update(Text(totals(result)))
        lengths = self.query_one("#packed-lengths", Static)
        bars = self._lengths(result)
        lengths.update(bars)
        lengths.display = bool(bars)
        if result is None:
            return
        speakers.show_rows(
            (
                entry["speaker"],
                (
                    plain(entry["speaker"]),
                    count(entry["sentences"]),
                    count(entry["dropped"]),
                    duration(entry["frames"] / FRAME_RATE),
                ),
            )
            for entry in result["speakers"]
        )
        dropped.display = bool(result["dropped"])
        dropped.show_rows(
            (
                f"{number}",
                (plain(item["clip"]), plain(_(item["reason"]))),
                _advice(item),
            )
            for number, item in enumerate(result["dropped"])
        )

    def _lengths(self, result: dict[str, Any] | None) -> Text:
        if result is None or not result["columns"]["counts"]:
            return Text("")
        try:
            limit = self.project.train_settings().max_length
        except FishtuneError:
            return Text("")  # step 5 says what is wrong with its settings
        return histogram(
            wizard(self).glyphs,
            result["columns"]["edges"],
            result["columns"]["counts"],
            limit,
            self.size.width // 2 - 4 if self.has_class("-wide") else self.size.width - 4,
        )

    def job_ended(self) -> None:
        if self.job_state is JobState.FINISHED:
            self.end_monitor()  # what was packed stands beside the settings

    def settings(self) -> PackSettings:
        return self.project.pack_settings()

    def verb(self) -> str:
        return _("Pack again") if self.is_done else _("Pack")

    def help_text(self) -> str:
        return _(
            "Joins codes and transcripts into the files that training reads. The same input gives the same "
            "bytes; a new packing replaces the old one only when it is whole.\n"
            "Text in {braces} or <angle brackets> is stripped. Clips longer than max_length of step 5 are "
            "refused by name when training begins: split them."
        )


def _advice(dropped: dict[str, Any]) -> str:
    advice = from_data(dropped.get("what_to_do", ""))
    return f"→ {sentence(advice)}" if advice else ""


def totals(result: dict[str, Any] | None) -> str:
    """Return a sentence on what is packed."""
    if result is None:
        return ""
    files = ngettext("{number} file", "{number} files", result["shards"]).format(number=result["shards"])
    clips = ngettext("{number} clip", "{number} clips", result["clips"]).format(number=count(result["clips"]))
    text = _("{sentences} of {clips} in {files}, {size}.").format(
        sentences=count(result["sentences"]),
        clips=clips,
        files=files,
        size=size(result["bytes"]),
    )
    return harmless(text)


def histogram(glyphs: Glyphs, edges: list[int], counts: list[int], limit: int, width: int) -> Text:
    """Return clip lengths in tokens as bars, with a mark where `limit` (max_length) cuts."""
    per_bar = -(-len(counts) // min(len(counts), 8))
    bars = [
        Bar(
            edges[begin],
            edges[end := min(begin + per_bar, len(counts))],
            sum(counts[begin:end]),
            _("too long") if edges[begin] >= limit else "",
        )
        for begin in range(0, len(counts), per_bar)
    ]
    return drawn(glyphs, _("tokens per clip, against max_length {limit}").format(limit=limit), bars, width)
