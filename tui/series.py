"""A curve of any length in bounded memory."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left

CAPACITY = 4096


class Series:
    """Points (x, value) in order of x, kept as means of equally many neighbours.

    Once CAPACITY buckets are full, neighbouring ones are joined, so that 100 points and 10,000,000 cost
    the same memory and the same time to draw.
    """

    def __init__(self) -> None:
        self.points = 0
        self._per_bucket = 1
        self._x = array("d")
        self._sum = array("d")
        self._number = array("I")

    def add(self, x: float, value: float) -> None:
        """Append a point; one whose x is not above the last one's x begins again from there.

        A resumed run repeats the steps after its last checkpoint: the later values count.
        """
        self.cut(x)
        self.points += 1
        if self._number and self._number[-1] < self._per_bucket:
            self._x[-1] = x
            self._sum[-1] += value
            self._number[-1] += 1
            return
        if len(self._x) == CAPACITY:
            self._halve()
        self._x.append(x)
        self._sum.append(value)
        self._number.append(1)

    def cut(self, x: float) -> None:
        """Take away the points from `x` on, to the bucket."""
        while self._x and self._x[-1] >= x:
            self._x.pop()
            self._sum.pop()
            self.points -= self._number.pop()

    def _halve(self) -> None:
        pairs = range(0, len(self._x) - 1, 2)
        self._x = array("d", (self._x[i + 1] for i in pairs))
        self._sum = array("d", (self._sum[i] + self._sum[i + 1] for i in pairs))
        self._number = array("I", (self._number[i] + self._number[i + 1] for i in pairs))
        self._per_bucket *= 2

    @property
    def last_x(self) -> float:
        """The x of the newest point; 0 where there is none."""
        return self._x[-1] if self._x else 0.0

    @property
    def last(self) -> float | None:
        """Mean of the newest bucket, None where there is no point."""
        return self._sum[-1] / self._number[-1] if self._x else None

    def decimated(
        self, columns: int, window: float = 0.0, start: float = -math.inf
    ) -> tuple[list[float], list[float]]:
        """Return at most `columns` points as (x, value).

        Args:
            window: 0 = means as they are; otherwise a mean whose weights fall by e every `window` of x. Two
                series smoothed over the same window lag alike, however often each was measured.
            start: points before this x are left out; what is smoothed still remembers them.
        """
        first = bisect_left(self._x, start)
        smooth = self._smoothed(window) if window > 0 else None
        step = max(-(-(len(self._x) - first) // max(columns, 1)), 1)
        xs: list[float] = []
        values: list[float] = []
        for begin in range(first, len(self._x), step):
            end = min(begin + step, len(self._x))
            xs.append(self._x[end - 1])
            if smooth is not None:
                values.append(smooth[end - 1])
            else:
                values.append(sum(self._sum[begin:end]) / sum(self._number[begin:end]))
        return xs, values

    def _smoothed(self, window: float) -> array[float]:
        total = weight = 0.0
        before = self._x[0] if self._x else 0.0
        smoothed = array("d")
        for x, sums, number in zip(self._x, self._sum, self._number, strict=True):
            kept = math.exp((before - x) / window)
            total, weight, before = kept * total + sums, kept * weight + number, x
            smoothed.append(total / weight)
        return smoothed
