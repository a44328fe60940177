"""A button in one row; arrow keys go on from it as Tab does."""

from __future__ import annotations

from rich.text import Text
from textual import widgets
from textual.binding import Binding


class Button(widgets.Button):
    """A button of one row.

    Args:
        label: what stands on it.
        name: which button it is, for `Button.Pressed`.
        main: whether it is the screen's main button, in the accent colour.
    """

    BINDINGS = [
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, label: str, name: str, *, main: bool = False) -> None:
        super().__init__(Text(label), name=name, compact=True, variant="primary" if main else "default")
