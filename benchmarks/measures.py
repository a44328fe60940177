"""What a benchmark measured, beside what it must keep to: one way to state a limit, one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_WIDTH = 66


@dataclass(frozen=True, slots=True)
class Measure:
    """One number."""

    what: str
    value: float
    unit: str
    """`×` is a ratio to something that was measured in the same run."""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_within(self) -> bool:
        """Whether it keeps its limits; one without any does."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def limit(self) -> str:
        """The limits in words."""
        limits = ((self.at_most, "≤"), (self.at_least, "≥"))
        return " ".join(f"{sign} {_number(limit)}" for limit, sign in limits if limit is not None)


def show(title: str, measures: Iterable[Measure]) -> bool:
    """Print a table, each line as soon as it is measured; return whether all is within its limits."""
    print(f"\n{title:<{_WIDTH}}{'measured':>12} {'':<10}{'limit':<10}")
    within = True
    for measure in measures:
        note = "" if measure.is_within else "EXCEEDED"
        number = f"{_number(measure.value):>12} {measure.unit:<10}"
        line = f"{measure.what:<{_WIDTH}}{number}{measure.limit:<10}{note}"
        print(line.rstrip(), flush=True)
        within = within and measure.is_within
    return within


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
