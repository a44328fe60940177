"""A line chart out of characters: a canvas of braille dots and signs, and round numbers for its axes.

Drawn once a second while a training runs, so it is cheap: some thousand additions, and no library to load.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.text import Text

_BRAILLE = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille cell, by row and column."""
_ACROSS, _DOWN = 2, 4
_MOST_DECIMALS = 6
_LEAST = 1e-9
"""Smaller parts of the largest value are not told apart."""

_FEW = 10
"""Values of which none counts as a peak."""
_DECADE = 10.0
"""Factor over which round numbers 1, 2, 5, 10 … mark a logarithmic axis better than equal differences."""

Point = tuple[float, float]
"""x and y from 0 to 1, from the left and from the top."""


class Canvas:
    """`rows` × `columns` cells; what is drawn later lies on top."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns, self._rows = columns, rows
        self._dots: dict[tuple[int, int], int] = {}
        self._signs: dict[tuple[int, int], str] = {}
        self._styles: dict[tuple[int, int], str] = {}

    def line(self, points: Sequence[Point], style: str, sign: str = "") -> None:
        """Join points by lines: of braille dots, or of `sign`s where one is given."""
        across, down = (1, 1) if sign else (_ACROSS, _DOWN)
        width, height = self._columns * across - 1, self._rows * down - 1
        places = [(round(x * width), round(y * height)) for x, y in points]
        for (x, y), (to_x, to_y) in zip(places, places[1:] or places, strict=False):
            steps = max(abs(to_x - x), abs(to_y - y), 1)
            for step in range(steps + 1):
                at_x = x + (to_x - x) * step // steps
                at_y = y + (to_y - y) * step // steps
                if sign:
                    self._put((at_y, at_x), sign, style)
                else:
                    self._dot(at_x, at_y, style)

    def points(self, points: Iterable[Point], style: str, sign: str) -> None:
        """Put a sign at each point."""
        for x, y in points:
            self._put((round(y * (self._rows - 1)), round(x * (self._columns - 1))), sign, style)

    def _dot(self, x: int, y: int, style: str) -> None:
        cell = (y // _DOWN, x // _ACROSS)
        self._signs.pop(cell, None)
        self._dots[cell] = self._dots.get(cell, 0) | _DOTS[y % _DOWN][x % _ACROSS]
        self._styles[cell] = style

    def _put(self, cell: tuple[int, int], sign: str, style: str) -> None:
        self._signs[cell] = sign
        self._styles[cell] = style

    def row(self, row: int) -> list[tuple[str, str]]:
        """Return one row as pieces of one style each, (text, style)."""
        pieces: list[tuple[str, str]] = []
        for column in range(self._columns):
            cell = (row, column)
            style = self._styles.get(cell, "")
            if cell in self._signs:
                sign = self._signs[cell]
            else:
                sign = chr(_BRAILLE | self._dots[cell]) if cell in self._dots else " "
            if pieces and pieces[-1][1] == style:
                pieces[-1] = (pieces[-1][0] + sign, style)
            else:
                pieces.append((sign, style))
        return pieces


def robust(values: Iterable[float]) -> list[float]:
    """Return the ends of the range in which most values lie: single peaks must not flatten the rest.

    It reaches as far beyond the 10th and the 90th percentile as these are apart, and no further than values.
    """
    numbers = sorted(value for value in values if math.isfinite(value))
    if len(numbers) < _FEW:
        return numbers
    low, high = numbers[len(numbers) // 10], numbers[-1 - len(numbers) // 10]
    room = (high - low) or abs(low) / 10
    return [max(numbers[0], low - room), min(numbers[-1], high + room)]


class Axis:
    """The range of some values, with round ticks in it: at most `most`, and 2 are always allowed.

    Args:
        log: whether equal factors, not equal differences, are equally far apart; only of positive values.

    Attributes:
        ticks: (share of the range from 0 to 1, label), lowest first.
    """

    def __init__(self, values: Iterable[float], most: int, *, log: bool = False) -> None:
        numbers = [value for value in values if math.isfinite(value)] or [0.0]
        self.low, self.high = min(numbers), max(numbers)
        self.log = log and self.low > 0
        size = max(abs(self.low), abs(self.high), _LEAST)
        if self.high - self.low <= _LEAST * size:  # as good as one value alone: it comes into the middle
            room = abs(self.low) / 2 or 1.0
            self.low, self.high = self.low - room, self.high + room
        self.ticks = [(self.share(value), label) for value, label in self._round_numbers(max(most, 2))]

    def share(self, value: float) -> float:
        """Return where a value lies in the range, from 0 to 1; what is no number counts as the highest."""
        if math.isnan(value):
            return 1.0
        if self.log:
            value = min(max(value, self.low), self.high)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def _round_numbers(self, most: int) -> list[tuple[float, str]]:
        if self.log and self.high / self.low >= _DECADE:
            low, high = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for factors in ((1, 2, 5), (1,)):
                numbers = [factor * 10.0**power for power in range(low, high + 1) for factor in factors]
                inside = [number for number in numbers if self.low <= number <= self.high]
                if 2 <= len(inside) <= most:
                    return [(number, f"{number:,g}") for number in inside]
        exponent = math.floor(math.log10((self.high - self.low) / most))
        for step_exponent, factor in ((exponent, 1), (exponent, 2), (exponent, 5), (exponent + 1, 1)):
            step = factor * 10.0**step_exponent
            first, last = math.ceil(self.low / step), math.floor(self.high / step)
            if last - first < most:
                break
        decimals = max(-step_exponent, 0)
        kind = f",.{decimals}f" if decimals <= _MOST_DECIMALS else ".1e"
        return [(number * step, format(number * step, kind)) for number in range(first, last + 1)]


def chart(canvas: Canvas, columns: int, rows: int, x_axis: Axis, y_axis: Axis, *, framed: bool) -> Text:
    """Return a canvas with the labels of its axes, and with a frame if wanted.

    Its size is the canvas's and one row more for the labels below; on the left as many columns as the
    longest label takes and one; two rows and one column more for a frame.
    """
    room = label_room(y_axis)
    labels = {round((1 - share) * (rows - 1)): label for share, label in y_axis.ticks}
    places = [(round(share * (columns - 1)), label) for share, label in x_axis.ticks]
    picture = Text(no_wrap=True, overflow="crop")
    if framed:
        picture.append(" " * room + "┌" + "─" * columns + "┐\n")
    for row in range(rows):
        label = labels.get(row, "")
        edge = ("┤" if label else "│") if framed else " "
        picture.append(label.rjust(room) + edge)
        for text, style in canvas.row(row):
            picture.append(text, style=style)
        picture.append("│\n" if framed else "\n")
    if framed:
        marked = {place for place, _label in places}
        line = "".join("┬" if column in marked else "─" for column in range(columns))
        picture.append(" " * room + "└" + line + "┘\n")
    picture.append(_labels_below(places, room + 1, room + 1 + columns))
    return picture


def label_room(y_axis: Axis) -> int:
    """Return how many columns the labels of the y-axis take."""
    return max((len(label) for _share, label in y_axis.ticks), default=0)


def _labels_below(places: list[tuple[int, str]], begin: int, width: int) -> str:
    """Return labels centred under their places; one that would touch the one before it is left out."""
    line = ""
    for place, label in places:
        at = min(max(begin + place - len(label) // 2, 0), max(width - len(label), 0))
        if not line or at >= len(line) + 2:
            line = line.ljust(at) + label
    return line
