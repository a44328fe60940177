"""The loss curve: lines over a common axis, told apart by their signs and colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rich.text import Text
from textual.widget import Widget

from ..catalogue import _
from ..chart import Axis, Canvas, chart, label_room
from ..wording import decimal, harmless

Drawn = Literal["line", "points", "faint points", "marks"]
_SIGNS: dict[Drawn, tuple[str, str]] = {
    "line": ("─", "*"),
    "points": ("•", "o"),
    "faint points": ("·", "."),
    "marks": ("▲", "^"),
}
"""How a line of the chart is told from the others without colours: its sign, and the one of ASCII."""
_FRAMED = 12
"""Rows from which a chart has a frame."""


@dataclass(frozen=True)
class Line:
    """A named line of a chart."""

    name: str
    xs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    color: str = ""
    """A style of rich; empty = the terminal's foreground."""
    drawn: Drawn = "line"


class Curve(Widget):
    """Lines over a common x-axis, drawn again only when they changed."""

    DEFAULT_CSS = "Curve { height: 1fr; min-height: 6; width: 1fr; }"

    def __init__(self, ascii_only: bool = False, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ascii_only = ascii_only
        self._lines: list[Line] = []
        self._x_label = ""
        self._drawn: tuple[object, ...] = ()
        self._picture = Text("")

    def show(self, lines: list[Line], x_label: str) -> None:
        """Show other lines."""
        if lines != self._lines or x_label != self._x_label:
            self._lines, self._x_label = lines, x_label
            self._drawn = ()
            self.refresh()

    @property
    def columns(self) -> int:
        """How many points are worth giving: twice the width in cells."""
        return 2 * max(self.size.width - 8, 10)

    def render(self) -> Text:
        size = (self.size.width, self.size.height)
        if self._drawn != size:
            self._picture = draw(self._lines, self._x_label, *size, ascii_only=self._ascii_only)
            self._drawn = size
        return self._picture


def draw(lines: list[Line], x_label: str, width: int, height: int, *, ascii_only: bool) -> Text:
    """Return a chart as text of `width` × `height` cells."""
    lines = [line for line in lines if line.xs]
    if not lines or width < 20 or height < 4:
        return Text(_("The curve begins with the first steps.") if not lines else "", style="dim")
    # In a low pane the frame would take half of the room; its signs are line drawing besides.
    framed = height >= _FRAMED and not ascii_only
    rows = height - (4 if framed else 2)
    x_axis = Axis((x for line in lines for x in line.xs), width // 18)
    y_axis = Axis((value for line in lines for value in line.values), rows // 2)
    columns = width - label_room(y_axis) - (2 if framed else 1)
    canvas = Canvas(columns, rows)
    for line in lines:
        sign = _SIGNS[line.drawn][ascii_only]
        points = [
            (x_axis.share(x), 1 - y_axis.share(value)) for x, value in zip(line.xs, line.values, strict=True)
        ]
        if line.drawn == "line" and len(points) > 1:
            canvas.line(points, line.color, sign if ascii_only else "")
        else:
            canvas.points(points, line.color, sign)
    picture = chart(canvas, columns, rows, x_axis, y_axis, framed=framed)
    legend = "   ".join(
        f"{_SIGNS[line.drawn][ascii_only]} {harmless(line.name, 30)}"
        + ("" if line.drawn == "marks" else f" {decimal(line.values[-1])}")
        for line in lines
    )
    picture.append(f"\n{harmless(x_label, 30)}   {legend}", style="dim")
    return picture
