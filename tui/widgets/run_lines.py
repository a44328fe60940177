"""What the chart of a run shows: its losses as lines, and those of another run beside them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from ..catalogue import _
from ..run_view import LossName, RunView
from .curve import Line

_WINDOW = 0.05
"""Share of the run's steps over which training and held-out losses are smoothed, alike."""
Smoothing = Literal["smooth", "raw", "both"]
ZOOMS = {"all": 1.0, "half": 0.5, "tenth": 0.1}
"""The last part of the run that is shown, as a share of its steps."""


@dataclass(frozen=True)
class ChartOptions:
    """What is chosen above the chart."""

    which: LossName = "loss"
    smoothing: Smoothing = "smooth"
    by_passes: bool = False
    zoom: str = "all"


@dataclass(frozen=True)
class Drawing:
    """The steps that are drawn and where each lies on the chart."""

    steps: list[float]
    positions: list[float]
    values: list[float]


def chart_lines(
    view: RunView, options: ChartOptions, columns: int, other: RunView | None = None
) -> list[Line]:
    """Return the lines of the chart: train (raw, smoothed or both) and held-out. Call it under the lock.

    Args:
        other: another run, drawn with signs of its own; nobody adds to it any more.
    """
    start = first_step(view, options)
    lines: list[Line] = []
    if other is not None and other.step is not None:
        lines += _other_lines(other, options, columns, start)
    if options.smoothing == "both":
        raw = drawing(view, options, columns, start, smooth=False)
        lines.append(Line(_("train, raw"), raw.positions, raw.values, "bright_black", "faint points"))
    train = drawing(view, options, columns, start, smooth=options.smoothing != "raw")
    lines.append(Line(_("train"), train.positions, train.values, "cyan"))
    marks = [step for step in view.resumed_at if step >= start]
    if train.steps and marks:
        places = [min(bisect_left(train.steps, step), len(train.steps) - 1) for step in marks]
        at, height = [train.positions[place] for place in places], [train.values[place] for place in places]
        lines.append(Line(_("resumed"), at, height, "magenta", "marks"))
    held = _held_out(view, options, columns, start)
    if held.steps:
        measured = view.held_out[options.which].last
        lines.append(Line(_("held-out"), held.positions, held.values, "yellow", "points", measured))
    return lines


def first_step(view: RunView, options: ChartOptions) -> float:
    """Return the first step that the zoom shows."""
    return (1 - ZOOMS[options.zoom]) * view.train[options.which].last_x


def drawing(view: RunView, options: ChartOptions, columns: int, start: float, *, smooth: bool) -> Drawing:
    """Return the training loss as it is drawn."""
    series = view.train[options.which]
    steps, values = series.decimated(columns, _window(view) if smooth else 0.0, start)
    positions = view.passes_at.decimated(columns, start=start)[1] if options.by_passes else steps
    return Drawing(steps, positions, values)


def _held_out(view: RunView, options: ChartOptions, columns: int, start: float) -> Drawing:
    window = _window(view) if options.smoothing != "raw" else 0.0
    steps, values = view.held_out[options.which].decimated(columns, window, start)
    passes = view.held_out_passes.decimated(columns, start=start)[1] if options.by_passes else steps
    return Drawing(steps, passes, values)


def _other_lines(other: RunView, options: ChartOptions, columns: int, start: float) -> list[Line]:
    """Return the lines of another run, no further left than what is shown of this one."""
    train = drawing(other, options, columns // 4, start, smooth=True)
    held = _held_out(other, options, columns // 4, start)
    return [
        Line(_("other run"), train.positions, train.values, "blue", "other line"),
        Line(_("its held-out"), held.positions, held.values, "blue", "other points"),
    ]


def _window(view: RunView) -> float:
    return max(_WINDOW * view.train["loss"].last_x, 1e-9)
