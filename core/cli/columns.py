"""Tables of a terminal whose columns shrink by words: no heading, name or number is cut inside."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from .console import out

_BETWEEN = 2


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table as wide as the terminal allows.

    Args:
        left: how many of the first columns hold names, which stay in one line, flush left; the others hold
            numbers.
    """
    table = Table(box=None, pad_edge=False)
    columns = list(zip(headings, *rows, strict=True))
    for place, (column, width) in enumerate(zip(columns, _widths(columns, left), strict=True)):
        table.add_column(
            Text(column[0]), justify="left" if place < left else "right", overflow="fold", width=width
        )
    for row in rows:
        table.add_row(*map(Text, row))
    out.print(table, soft_wrap=False)


def _widths(columns: Sequence[Sequence[str]], left: int) -> list[int]:
    """Return the columns' widths: the whole of each, less where lines can be broken between words."""
    widths = [max(map(cell_len, column)) for column in columns]
    excess = sum(widths) + _BETWEEN * (len(widths) - 1) - out.width
    # The last first: what was measured has a mean and an interval, which stand well under one another.
    for place in reversed(range(left, len(columns))):
        least = max(cell_len(word) for cell in columns[place] for word in cell.split(" "))
        less = max(0, min(excess, widths[place] - least))
        widths[place] -= less
        excess -= less
    return widths
