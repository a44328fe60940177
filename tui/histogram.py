"""Histograms in text: one bar below another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from .glyphs import Glyphs
from .wording import count, harmless

_MOST_BARS = 8
_ROUND = (1, 2, 2.5, 5, 10)


class Bar(NamedTuple):
    """One bar: the values from `low` to `high`, and what is to be said of it."""

    low: float
    high: float
    number: int
    note: str = ""


def binned(values: Sequence[float], least: float = 0.0, most: int = _MOST_BARS) -> list[Bar]:
    """Return values counted between round edges; nothing of no values.

    Args:
        least: width of a bar at least, a round number: finer differences mean nothing.
        most: bars at most.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    low, high = min(finite), max(finite)
    spread = (high - low) / (most - 1) if high > low else least or abs(high) or 1.0
    width = max(_round_width(spread), least)
    first = math.floor(low / width)
    counts = [0] * (math.floor(high / width) - first + 1)
    for value in finite:
        counts[math.floor(value / width) - first] += 1
    return [Bar((first + at) * width, (first + at + 1) * width, number) for at, number in enumerate(counts)]


def _round_width(width: float) -> float:
    """Return the least round number that is not smaller."""
    power = 10.0 ** math.floor(math.log10(width))
    return power * next(step for step in _ROUND if step * power >= width * (1 - 1e-9))


def drawn(glyphs: Glyphs, title: str, bars: Sequence[Bar], width: int, unit: str = "") -> Text:
    """Return a title and a row per bar: its edges, how many there are, the bar, its note.

    Args:
        width: cells of a row.
        unit: of the edges; stands in the title.
    """
    text = Text(no_wrap=True, overflow="crop")
    text.append(harmless(f"{title} ({unit})" if unit else title), style="bold")
    if not bars:
        return text
    edges = [f"{_number(bar.low)} – {_number(bar.high)}" for bar in bars]
    numbers = [count(bar.number) for bar in bars]
    left, middle = max(map(len, edges)), max(map(len, numbers))
    notes = max(cell_len(bar.note) for bar in bars)
    room = max(width - left - middle - notes - 4, 4)
    largest = max(max(bar.number for bar in bars), 1)
    for bar, edge, number in zip(bars, edges, numbers, strict=True):
        cells = round(bar.number / largest * room)
        line = glyphs.bar * (max(cells, 1) if bar.number else 0)
        text.append(f"\n{edge:>{left}} {number:>{middle}}  ")
        text.append(line + (f" {bar.note}" if bar.note else ""))
    return text


def _number(value: float) -> str:
    """Return an edge with as few digits as it needs."""
    return f"{value:,.6g}"


def beside(left: Text, right: Text, width: int) -> Text:
    """Return two blocks of lines beside each other, the first cut to `width` cells."""
    lefts, rights = left.split(allow_blank=True), right.split(allow_blank=True)
    rows = []
    for at in range(max(len(lefts), len(rights))):
        row = lefts[at].copy() if at < len(lefts) else Text()
        row.truncate(width, pad=True)
        if at < len(rights):
            row.append_text(rights[at])
        rows.append(row)
    joined = Text("\n").join(rows)
    joined.no_wrap, joined.overflow = True, "crop"
    return joined
