"""A training run on screen: curve, numbers, checkpoints, log."""

from __future__ import annotations

from bisect import bisect_left

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from ...core.jobs.record import Job, JobState
from ...core.units import format_usage
from ..access import wizard
from ..catalogue import _
from ..glyphs import LINES, Glyphs
from ..run_view import LossName, RunView, share_of
from ..wording import clock, count, decimal, duration, percent, size
from .choice import Choice
from .curve import Curve, Line
from .monitor import JobMonitor
from .plain import PlainVertical
from .table import Table

_SMOOTHING = 0.9
_WIDE = 96


class TrainingMonitor(JobMonitor):
    """The monitor of the train step."""

    DEFAULT_CSS = """
    TrainingMonitor #top { height: 4fr; }
    TrainingMonitor #chart { height: 1fr; }
    TrainingMonitor #switches { height: 1; }
    TrainingMonitor #switches Choice { margin: 0 2 0 0; }
    TrainingMonitor #side { height: auto; }
    TrainingMonitor #numbers { height: auto; }
    TrainingMonitor #checkpoints { height: auto; max-height: 6; display: none; margin: 1 0 0 0; }
    TrainingMonitor #log { height: 1fr; min-height: 3; }
    TrainingMonitor #detailed-failed-items.-shown { display: none; }
    TrainingMonitor.-roomy #checkpoints { display: block; }
    TrainingMonitor.-roomy #detailed-failed-items.-shown { display: block; max-height: 8; }
    TrainingMonitor.-wide #top { layout: horizontal; }
    TrainingMonitor.-wide #chart { width: 1fr; }
    TrainingMonitor.-wide #side { width: 44; height: 1fr; padding: 0 0 0 2; }
    TrainingMonitor.-wide #checkpoints { height: 1fr; max-height: 100%; }
    """

    def __init__(self, glyphs: Glyphs = LINES, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(glyphs, id=id)
        self._ascii_only = ascii_only
        self._view: RunView | None = None
        self._numbers = ""
        self._state: JobState | None = None

    def compose(self) -> ComposeResult:
        glyphs = self._glyphs
        with PlainVertical(id="top"):
            with PlainVertical(id="chart"):
                with Horizontal(id="switches"):
                    yield Choice(
                        [
                            ("loss", _("total loss")),
                            ("base_loss", _("base loss")),
                            ("semantic_loss", _("semantic loss")),
                        ],
                        "loss",
                        glyphs,
                        id="which",
                    )
                    yield Choice(
                        [("smooth", _("smoothed")), ("raw", _("raw")), ("both", _("both"))],
                        "smooth",
                        glyphs,
                        id="smoothing",
                    )
                    yield Choice(
                        [("step", _("over steps")), ("passes", _("over clip passes"))],
                        "step",
                        glyphs,
                        id="axis",
                    )
                yield Curve(self._ascii_only, id="curve")
            with PlainVertical(id="side"):
                yield Static("", id="numbers", markup=False)
                yield Table(
                    [
                        (_("step"), 7, "right"),
                        (_("held-out"), 8, "right"),
                        (_("size"), 9, "right"),
                        (_("time"), 11, "right"),
                    ],
                    id="checkpoints",
                )
        yield from super().compose()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= _WIDE, "-wide")
        self.set_class(event.size.width >= _WIDE or event.size.height >= 34, "-roomy")
        if self._view is not None:
            self._draw(self._view)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        if self._view is not None:
            self._draw(self._view)

    def show(self, job: Job, state: JobState, view: RunView) -> None:
        super().show(job, state, view)
        self._view, self._state = view, state
        self._draw(view)

    def progress_text(self, view: RunView, state: JobState) -> Text:
        # Before the first step: indexing, measuring, loading. Afterwards the numbers say it all.
        if view.has_begun:
            return Text("")
        return super().progress_text(view, state)

    def _draw(self, view: RunView) -> None:
        curve = self.query_one(Curve)
        which: LossName = self.query_one("#which", Choice).value  # type: ignore[assignment]
        smoothing = self.query_one("#smoothing", Choice).value
        by_passes = self.query_one("#axis", Choice).value == "passes"
        with view.lock:
            lines = chart_lines(view, which, smoothing, by_passes, curve.columns)
            numbers = self._numbers_text(view)
        curve.show(lines, _("clip passes") if by_passes else _("steps"))
        if numbers.plain != self._numbers:
            self._numbers = numbers.plain
            self.query_one("#numbers", Static).update(numbers)

    def _numbers_text(self, view: RunView) -> Text:
        step = view.step
        if step is None:
            return Text("")
        total = f" / {count(step.total_steps)}" if step.total_steps else ""
        done = share_of(step.step, step.total_steps)
        share = f"  {percent(done)}" if done is not None else ""
        held = view.validation
        pairs = [
            (_("step"), f"{count(step.step)}{total}{share}"),
            (_("clip passes"), f"{step.clip_passes:.2f}"),
            (_("learning rate"), f"{step.learning_rate:.2e}"),
            (_("tokens/s"), count(step.tokens_per_second)),
            (_("to go"), duration(step.eta) if self._runs and view.has_begun else "–"),
            (_("held-out loss"), decimal(held.loss if held else None)),
            (_("top-5 held-out"), percent(held.top_5_accuracy if held else None)),
            (_("GPU memory"), self._memory(view)),
            (_("GPU use"), self._use()),
        ]
        return in_columns(
            pairs, 1 if self.has_class("-wide") else 2, max(self.query_one("#numbers").size.width, 40)
        )

    @property
    def _runs(self) -> bool:
        return self._state in (JobState.RUNNING, JobState.STARTING)

    def _memory(self, view: RunView) -> str:
        reading = wizard(self).gpus
        card = next((gpu for gpu in reading.gpus if gpu.memory), None) if reading else None
        if card is not None and card.memory is not None and self._runs:
            return format_usage(card.memory.used, card.memory.total)
        return size(view.step.memory_bytes if view.step else None)

    def _use(self) -> str:
        reading = wizard(self).gpus
        card = next(iter(reading.gpus), None) if reading else None
        return f"{card.utilization} %" if card is not None and card.utilization is not None else "–"

    def show_checkpoints(self, view: RunView) -> None:
        """Show the checkpoints saved so far, newest first."""
        with view.lock:
            saved = sorted(view.checkpoints.values(), key=lambda item: -item.step)
        self.query_one("#checkpoints", Table).show_rows(
            (
                str(item.step),
                (
                    count(item.step),
                    decimal(item.validation_loss),
                    size(item.bytes),
                    clock(item.time).partition("-")[2] or "–",
                ),
            )
            for item in saved[:200]
        )


def chart_lines(view: RunView, which: LossName, smoothing: str, by_passes: bool, columns: int) -> list[Line]:
    """Return the lines of the chart: train (raw, smoothed or both) and held-out. Call it under the lock."""
    lines: list[Line] = []
    smooth = _SMOOTHING if smoothing in ("smooth", "both") else 0.0
    if smoothing == "both":
        xs, values = view.train[which].decimated(columns)
        lines.append(
            Line(_("train, raw"), _axis(view, xs, by_passes, columns), values, "bright_black", "faint points")
        )
    xs, values = view.train[which].decimated(columns, smooth)
    positions = _axis(view, xs, by_passes, columns)
    lines.append(Line(_("train"), positions, values, "cyan"))
    if xs and view.resumed_at:
        marks = [min(bisect_left(xs, step), len(xs) - 1) for step in view.resumed_at]
        at, height = [positions[mark] for mark in marks], [values[mark] for mark in marks]
        lines.append(Line(_("resumed"), at, height, "magenta", "marks"))
    xs, values = view.held_out[which].decimated(columns)
    if xs:
        positions = view.held_out_passes.decimated(columns)[1] if by_passes else xs
        lines.append(Line(_("held-out"), positions, values, "yellow", "points"))
    return lines


def _axis(view: RunView, steps: list[float], by_passes: bool, columns: int) -> list[float]:
    return view.passes_at.decimated(columns)[1] if by_passes else steps


def in_columns(pairs: list[tuple[str, str]], columns: int, width: int) -> Text:
    """Return names and values in columns, values on the right."""
    from rich.cells import cell_len

    each = min((width - 4 * (columns - 1)) // columns, 40)
    rows = -(-len(pairs) // columns)
    text = Text(no_wrap=True, overflow="crop")
    for row in range(rows):
        if row:
            text.append("\n")
        for column in range(columns):
            position = column * rows + row
            if position >= len(pairs):
                continue
            name, value = pairs[position]
            text.append(name, style="dim")
            text.append(" " * max(each - cell_len(name) - cell_len(value), 1) + value)
            if column < columns - 1:
                text.append("    ")
    return text
