"""A line that unfolds what few people need."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget

from ..glyphs import Glyphs
from .button import Button


class Fold(Vertical):
    """A button, and below it what it unfolds; folded at first.

    Args:
        title: what is folded away.
        content: the widget that is.
    """

    DEFAULT_CSS = """
    Fold { height: auto; }
    Fold .folded { display: none; }
    """

    def __init__(self, title: str, content: Widget, glyphs: Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._title = title
        self._content = content
        self._glyphs = glyphs
        content.add_class("folded")

    def compose(self) -> ComposeResult:
        yield Button(self._label, "fold")
        yield self._content

    @property
    def _label(self) -> str:
        return (
            f"{self._title} {self._glyphs.right if self._content.has_class('folded') else self._glyphs.left}"
        )

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.name == "fold":
            event.stop()
            self._content.toggle_class("folded")
            event.button.label = self._label
