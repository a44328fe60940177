"""Which clips of a data set a list shows, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import StrEnum

from ..core.dataset.rows import ClipRow
from ..core.dataset.usage import DropReason
from .catalogue import mark


class Which(StrEnum):
    """Which clips are shown, in words."""

    ALL = mark("all clips")
    USED = mark("used")
    NOT_USED = mark("not used")
    FINDINGS = mark("with findings")


class Order(StrEnum):
    """By what they are sorted, in words."""

    NAME = mark("by name")
    LONGEST = mark("longest first")
    SHORTEST = mark("shortest first")
    LOUDEST = mark("loudest first")
    QUIETEST = mark("quietest first")
    FASTEST = mark("fastest first")
    SLOWEST = mark("slowest first")


_VALUES: dict[Order, tuple[Callable[[ClipRow], float | None], int]] = {
    Order.LONGEST: (lambda row: row.seconds or None, -1),
    Order.SHORTEST: (lambda row: row.seconds or None, 1),
    Order.LOUDEST: (lambda row: row.loudness, -1),
    Order.QUIETEST: (lambda row: row.loudness, 1),
    Order.FASTEST: (lambda row: row.pace, -1),
    Order.SLOWEST: (lambda row: row.pace, 1),
}
"""What is compared, and which way."""


def why_not(row: ClipRow, exclude: Collection[str]) -> DropReason | None:
    """Return why a clip is not used, with what is to be left out now; None where it is."""
    if row.clip in exclude:
        return DropReason.EXCLUDED
    return None if row.dropped is DropReason.EXCLUDED else row.dropped


def chosen(
    rows: Iterable[ClipRow],
    exclude: Collection[str],
    which: Which = Which.ALL,
    speaker: str = "",
    search: str = "",
) -> list[ClipRow]:
    """Return the rows to show.

    Args:
        speaker: only of this one; "" = of all.
        search: letters that name or transcript hold, in any case.
    """
    wanted = search.strip().casefold()
    return [
        row
        for row in rows
        if (not speaker or row.speaker == speaker)
        and _is(which, row, exclude)
        and (not wanted or wanted in row.text.casefold() or wanted in row.clip.casefold())
    ]


def _is(which: Which, row: ClipRow, exclude: Collection[str]) -> bool:
    match which:
        case Which.USED:
            return why_not(row, exclude) is None
        case Which.NOT_USED:
            return why_not(row, exclude) is not None
        case Which.FINDINGS:
            return row.findings > 0
    return True


def ordered(rows: list[ClipRow], order: Order) -> list[ClipRow]:
    """Return rows sorted; those without the value that counts come last."""
    if order is Order.NAME:
        return sorted(rows, key=lambda row: row.clip)
    value_of, sign = _VALUES[order]

    def place(row: ClipRow) -> tuple[bool, float]:
        value = value_of(row)
        return value is None, sign * (value or 0.0)

    return sorted(rows, key=place)
