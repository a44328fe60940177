"""The loss curve. plotext is imported when the first curve is drawn, not with the wizard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rich.text import Text
from textual.widget import Widget

from ..catalogue import _
from ..wording import decimal, harmless

Drawn = Literal["line", "points", "faint points"]
_SIGNS: dict[Drawn, tuple[str, str]] = {"line": ("─", "*"), "points": ("•", "o"), "faint points": ("·", ".")}
"""How a line of the chart is told from the others without colours: its sign, and the one of ASCII."""
_FRAMED = 12
"""Rows from which a chart has a frame."""


@dataclass(frozen=True)
class Line:
    """A named line of a chart."""

    name: str
    xs: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    color: str | None = None
    """A colour name of plotext; None = the terminal's foreground."""
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
    import plotext

    plotext.clear_figure()
    plotext.plotsize(width, height - 1)
    plotext.theme("clear")
    # In a low pane the frame would take half of the room; its signs are line drawing besides.
    plotext.frame(height >= _FRAMED and not ascii_only)
    for line in lines:
        sign = _SIGNS[line.drawn][ascii_only]
        if line.drawn == "line" and len(line.xs) > 1:
            plotext.plot(line.xs, line.values, marker=sign if ascii_only else "braille", color=line.color)
        else:
            plotext.scatter(line.xs, line.values, marker=sign, color=line.color)
    plotext.xfrequency(max(width // 18, 2))
    plotext.yfrequency(max((height - 3) // 3, 2))
    picture = Text.from_ansi(plotext.build(), no_wrap=True, overflow="crop")
    legend = "   ".join(
        f"{_SIGNS[line.drawn][ascii_only]} {harmless(line.name, 30)} {decimal(line.values[-1])}"
        for line in lines
    )
    picture.rstrip()
    picture.append(f"\n{harmless(x_label, 30)}   {legend}", style="dim")
    picture.no_wrap = True
    return picture
