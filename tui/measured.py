"""What was measured of the voices to choose from: columns, each with how it is read. No Textual here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.cells import cell_len

from ..core.judge.results import Measure
from ..core.judge.selection import Candidate
from .candidates import Row, RowKind
from .catalogue import _, mark
from .wording import clock, decimal, percent, size


@dataclass(frozen=True)
class Measured:
    """A column.

    Args:
        heading: its key in the catalogue.
        width: of the widest value, in cells.
        value: what stands in a row's cell, "" where nothing was measured.
        meaning: what it is and how it is read.
        interval: the mean with its interval, of what an audition measured.
    """

    id: str
    heading: str
    width: int
    value: Callable[[Row], str]
    meaning: str
    interval: Callable[[Row], str] = lambda _row: ""

    @property
    def room(self) -> int:
        """Cells that neither values nor heading are cut in, whatever the language."""
        return max(self.width, cell_len(_(self.heading)))


def _of_audition(name: str, form: str) -> tuple[Callable[[Row], str], Callable[[Row], str]]:
    """Return what shows a measure of an audition: its mean, and its mean with the interval."""

    def shown(value: float) -> str:
        return percent(value) if form == "%" else f"{value:{form}}"

    def measure(row: Row) -> Measure | None:
        found: Measure | None = getattr(row.measures, name)
        return found

    def mean(row: Row) -> str:
        found = measure(row)
        return "" if found is None else shown(found.mean)

    def interval(row: Row) -> str:
        found = measure(row)
        if found is None:
            return ""
        return _("{mean} ({low} to {high})").format(
            mean=shown(found.mean), low=shown(found.low), high=shown(found.high)
        )

    return mean, interval


def _heard(name: str, heading: str, width: int, form: str, meaning: str) -> Measured:
    mean, interval = _of_audition(name, form)
    return Measured(name, heading, width, mean, meaning, interval)


def _trained(of: Callable[[Candidate], str]) -> Callable[[Row], str]:
    return lambda row: of(row.known) if row.known is not None and row.strength == 1 else ""


COLUMNS = (
    Measured(
        "loss",
        mark("held-out"),
        8,
        lambda row: "" if row.loss is None else decimal(row.loss),
        mark("Loss on clips that training never saw. Lower is better; where it rises again, it overfits."),
    ),
    _heard(
        "faulty",
        mark("faults"),
        6,
        "%",
        mark("Share of its recordings with something wrong: cut, too long, silent, fading, other words."),
    ),
    _heard(
        "wer",
        mark("words"),
        5,
        "%",
        mark(
            "Share of the words that are heard wrong. Lower is better; your recordings show what can be "
            "reached."
        ),
    ),
    _heard(
        "similarity",
        mark("voice"),
        5,
        ".2f",
        mark("How alike the voice is to yours; 1 is the same. Below 0.5 it is another speaker's."),
    ),
    _heard(
        "rate",
        mark("pace"),
        5,
        ".1f",
        mark("Letters per second of speech. Best near your recordings'."),
    ),
    _heard(
        "pitch",
        mark("pitch"),
        5,
        ".0f",
        mark("Median pitch in Hz. Best near your recordings'."),
    ),
    _heard(
        "spread",
        mark("range"),
        5,
        ".1f",
        mark("How far the pitch moves, in semitones: about 3 is monotonous, 6 to 14 is usual in speech."),
    ),
    Measured(
        "passes",
        mark("passes"),
        6,
        _trained(lambda known: "" if known.clip_passes is None else f"{known.clip_passes:.1f}"),
        mark("How often training saw every clip. Fewer passes usually generalise better."),
    ),
    Measured(
        "top_5",
        mark("top-5"),
        5,
        _trained(lambda known: "" if known.top_5_accuracy is None else percent(known.top_5_accuracy)),
        mark("How often the right token of held-out clips is among the five likeliest. Higher is better."),
    ),
    Measured(
        "size",
        mark("size"),
        9,
        _trained(lambda known: size(known.bytes) if known.bytes else ""),
        mark("Of the checkpoint on the disk."),
    ),
    Measured(
        "time",
        mark("time"),
        16,
        _trained(lambda known: clock(known.modified) if known.modified else ""),
        mark("When it was saved."),
    ),
)


def columns_of(rows: tuple[Row, ...], room: int) -> list[Measured]:
    """Return the columns in which anything stands, as many of the first as there is room for.

    Args:
        room: in cells; a column takes two more than its own.
    """
    found = []
    for column in COLUMNS:
        if any(column.value(row) for row in rows):
            room -= column.room + 2
            if room < 0:
                break
            found.append(column)
    return found


def explain_column(column: Measured, row: Row, rows: tuple[Row, ...]) -> str:
    """Return what a column means, with the value of a row beside those of base and recordings."""
    beside = [
        f"{other.name} {value}"
        for other in rows
        if other.kind in (RowKind.BASE, RowKind.RECORDINGS)
        and other.key != row.key
        and (value := column.value(other))
    ]
    own = column.interval(row) or column.value(row) or _("not measured")
    values = "; ".join([own, *beside])
    return f"{_(column.heading)}: {values}. {_(column.meaning)}"
