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
    full = round(min(max(share, 0.0), 1.0) * width)
    return glyphs.bar * full + glyphs.rest * (width - full)


def sparkline(glyphs: Glyphs, values: list[float], top: float | None = None) -> str:
    """Return one sign a value, its height relative to `top` (default: the largest value)."""
    largest = max(values, default=0.0) if top is None else top
    steps = len(glyphs.levels) - 1
    if largest <= 0:
        return glyphs.levels[0] * len(values)
    return "".join(glyphs.levels[min(round(max(value, 0) / largest * steps), steps)] for value in values)
