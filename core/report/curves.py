"""Losses by step, as few points as a drawing needs."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MOST_POINTS = 400
"""What is drawn is about 1000 pixels wide."""

Course = list[tuple[int, float]]
"""Steps and losses."""


def thinned(curve: Sequence[tuple[int, float]]) -> Course:
    """Return a curve of at most `_MOST_POINTS` points, each the mean of its neighbours."""
    points = [(step, loss) for step, loss in curve if math.isfinite(loss)]
    size = max(math.ceil(len(points) / _MOST_POINTS), 1)
    parts = [points[first : first + size] for first in range(0, len(points), size)]
    return [(part[len(part) // 2][0], sum(loss for _, loss in part) / len(part)) for part in parts]
