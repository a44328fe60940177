"""A curve of any length in bounded memory."""

from __future__ import annotations

from array import array

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
        self._number = array("L")

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
        self._number = array("L", (self._number[i] + self._number[i + 1] for i in pairs))
        self._per_bucket *= 2

    @property
    def last(self) -> float | None:
        """Mean of the newest bucket, None where there is no point."""
        return self._sum[-1] / self._number[-1] if self._x else None

    def decimated(self, columns: int, smoothing: float = 0.0) -> tuple[list[float], list[float]]:
        """Return at most `columns` points as (x, value).

        Args:
            smoothing: 0 = means as they are; towards 1 = exponential moving average over 1/(1 − smoothing)
                drawn points, bias-corrected at the beginning.
        """
        step = max(-(-len(self._x) // max(columns, 1)), 1)
        xs: list[float] = []
        values: list[float] = []
        for begin in range(0, len(self._x), step):
            end = min(begin + step, len(self._x))
            xs.append(self._x[end - 1])
            values.append(sum(self._sum[begin:end]) / sum(self._number[begin:end]))
        if smoothing > 0:
            values = _smooth(values, smoothing)
        return xs, values


def _smooth(values: list[float], smoothing: float) -> list[float]:
    average, weight = 0.0, 0.0
    smoothed = []
    for value in values:
        average = smoothing * average + (1 - smoothing) * value
        weight = smoothing * weight + (1 - smoothing)
        smoothed.append(average / weight)
    return smoothed
