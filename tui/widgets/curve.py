"""The loss curve: lines over a common axis, told apart by their signs and colours, and a cursor on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ..catalogue import _
from ..chart import Axis, Canvas, chart, label_room, robust
from ..wording import decimal, harmless

Drawn = Literal["line", "points", "faint points", "marks", "other line", "other points"]
_SIGNS: dict[Drawn, tuple[str, str]] = {
    "line": ("─", "*"),
    "points": ("•", "o"),
    "faint points": ("·", "."),
    "marks": ("▲", "^"),
    "other line": ("+", "+"),
    "other points": ("×", "x"),
}
"""How a line of the chart is told from the others without colours: its sign, and the one of ASCII."""
_CURSOR = ("│", "|")
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
    newest: float | None = None
    """What the legend says; None = the last value that is drawn."""


@dataclass(frozen=True)
class Picture:
    """What a curve shows."""

    lines: list[Line] = field(default_factory=list)
    x_label: str = ""
    log: bool = False
    """Whether the values' axis is logarithmic."""
    cursor: float | None = None
    """The x that is looked at."""


class Curve(Widget, can_focus=True):
    """Lines over a common x-axis, drawn again only when they changed."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    Curve { height: 1fr; min-height: 4; width: 1fr; }
    Curve:focus { background: $boost; }
    """
    BINDINGS = [
        Binding("left", "move(-1)", show=False),
        Binding("right", "move(1)", show=False),
        Binding("shift+left,pageup", "move_to_checkpoint(-1)", show=False),
        Binding("shift+right,pagedown", "move_to_checkpoint(1)", show=False),
        Binding("home", "move(-100000)", show=False),
        Binding("end", "move(100000)", show=False),
    ]

    class CursorMoved(Message):
        """The cursor is to go `by` columns (of the drawn points), or to the next checkpoint there."""

        def __init__(self, by: int, to_checkpoint: bool) -> None:
            super().__init__()
            self.by = by
            self.to_checkpoint = to_checkpoint

    def __init__(self, ascii_only: bool = False, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._ascii_only = ascii_only
        self._shown = Picture()
        self._drawn: tuple[object, ...] = ()
        self._rows: list[Strip] = []

    def show(self, picture: Picture) -> None:
        """Show another picture."""
        if picture != self._shown:
            self._shown = picture
            self._drawn = ()
            self.refresh()

    @property
    def columns(self) -> int:
        """How many points are worth giving: twice the width in cells."""
        return 2 * max(self.size.width - 8, 10)

    def action_move(self, by: int) -> None:
        self.post_message(self.CursorMoved(2 * by, to_checkpoint=False))

    def action_move_to_checkpoint(self, by: int) -> None:
        self.post_message(self.CursorMoved(by, to_checkpoint=True))

    def render_line(self, y: int) -> Strip:
        """Return a row of the chart.

        A `Text` would be simpler, but Textual gives each piece of one a style with the piece's place in it,
        and a chart has other pieces every second: thousands of styles would be kept.
        """
        width, height = self.size
        if self._drawn != (width, height):
            text = draw(self._shown, width, height, ascii_only=self._ascii_only)
            console = self.app.console
            self._rows = [
                Strip(row.render(console), row.cell_len) for row in text.split("\n", allow_blank=True)
            ]
            self._drawn = (width, height)
        style = self.rich_style
        row = self._rows[y] if y < len(self._rows) else Strip.blank(width)
        return row.apply_style(style).adjust_cell_length(width, style)


def draw(picture: Picture, width: int, height: int, *, ascii_only: bool) -> Text:
    """Return a chart as text of `width` × `height` cells."""
    lines = [line for line in picture.lines if line.xs]
    if not lines or width < 20 or height < 4:
        return Text(_("The curve begins with the first steps.") if not lines else "", style="dim")
    # In a low pane the frame would take half of the room; its signs are line drawing besides.
    framed = height >= _FRAMED and not ascii_only
    legend = _legend(picture, lines, width, 2 if framed and width >= 40 else 1, ascii_only)
    rows = height - (3 if framed else 1) - len(legend)
    x_axis = Axis((x for line in lines for x in line.xs), width // 12)
    y_axis = Axis(robust(value for line in lines for value in line.values), rows // 2, log=picture.log)
    columns = width - label_room(y_axis) - (2 if framed else 1)
    canvas = Canvas(columns, rows)
    if picture.cursor is not None:
        at = x_axis.share(picture.cursor)
        canvas.points([(at, row / max(rows - 1, 1)) for row in range(rows)], "dim", _CURSOR[ascii_only])
    for line in lines:
        sign = _SIGNS[line.drawn][ascii_only]
        points = [
            (x_axis.share(x), 1 - y_axis.share(value)) for x, value in zip(line.xs, line.values, strict=True)
        ]
        if line.drawn == "line" and len(points) > 1:
            canvas.line(points, line.color, sign if ascii_only else "")
        else:
            canvas.points(points, line.color, sign)
    drawn = chart(canvas, columns, rows, x_axis, y_axis, framed=framed)
    for row in legend:
        drawn.append(f"\n{row}", style="dim")
    return drawn


def _legend(picture: Picture, lines: list[Line], width: int, most: int, sign: int) -> list[str]:
    """Return the legend in as many rows as it needs, at most `most`; the last may be cut."""
    rows = [harmless(picture.x_label, 30)]
    for line in lines:
        newest = line.values[-1] if line.newest is None else line.newest
        text = f"{_SIGNS[line.drawn][sign]} {harmless(line.name, 30)}"
        text += "" if line.drawn == "marks" else f" {decimal(newest)}"
        if len(rows) < most and cell_len(rows[-1]) + 3 + cell_len(text) > width:
            rows.append(text)
        else:
            rows[-1] += f"   {text}"
    return rows
