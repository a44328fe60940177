"""The few signs the wizard draws with, and their stand-ins for terminals without line drawing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """Signs of one cell each, but for the names of keys."""

    done: str
    ready: str
    running: str
    unfinished: str
    stale: str
    failed: str
    locked: str
    bar: str
    rest: str
    gauge: str
    gauge_rest: str
    levels: str
    left: str
    right: str
    chosen: str
    enter: str
    up_down: str
    held: str = "▒"


LINES = Glyphs(
    done="✓",
    ready="▸",
    running="●",
    unfinished="◐",
    stale="≈",
    failed="✗",
    locked="·",
    bar="█",
    rest="░",
    gauge="▮",
    gauge_rest="▯",
    levels="▁▂▃▄▅▆▇█",
    left="‹",
    right="›",
    chosen="◆",
    enter="⏎",
    up_down="↑↓",
)
ASCII = Glyphs(
    done="v",
    ready=">",
    running="*",
    unfinished="+",
    stale="~",
    failed="x",
    locked=".",
    bar="#",
    rest="-",
    gauge="#",
    gauge_rest="-",
    levels="_.-=+*%#",
    left="<",
    right=">",
    chosen="*",
    enter="Enter",
    up_down="Up/Down",
    held="=",
)


def bar(glyphs: Glyphs, share: float, width: int) -> str:
    """Return a progress bar of `width` cells for a share of 0 to 1."""
    return _filled(glyphs.bar, glyphs.rest, share, width)


def gauge(glyphs: Glyphs, share: float, width: int) -> str:
    """Return how much of something bounded is used, in `width` cells; `share` is of 0 to 1."""
    return _filled(glyphs.gauge, glyphs.gauge_rest, share, width)


def _filled(full: str, rest: str, share: float, width: int) -> str:
    cells = round(min(max(share, 0.0), 1.0) * width)
    return full * cells + rest * (width - cells)


def waveform(glyphs: Glyphs, outline: list[float], rows: int) -> str:
    """Return peaks (0 … 1), a column each, as `rows` lines that grow from the lowest one."""
    steps = len(glyphs.levels)
    heights = [round(min(max(peak, 0.0), 1.0) * rows * steps) for peak in outline]
    lines = []
    for row in reversed(range(rows)):
        inside = (min(max(height - row * steps, 0), steps) for height in heights)
        lines.append("".join(glyphs.levels[part - 1] if part else " " for part in inside))
    return "\n".join(lines)


def sparkline(glyphs: Glyphs, values: list[float], top: float | None = None) -> str:
    """Return one sign a value, its height relative to `top` (default: the largest value)."""
    largest = max(values, default=0.0) if top is None else top
    steps = len(glyphs.levels) - 1
    if largest <= 0:
        return glyphs.levels[0] * len(values)
    return "".join(glyphs.levels[min(round(max(value, 0) / largest * steps), steps)] for value in values)
