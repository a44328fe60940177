"""A button in one row; arrow keys go on from it as Tab does."""

from __future__ import annotations

from rich.text import Text
from textual import widgets
from textual.binding import Binding


def with_key(label: str, key: str) -> Text:
    """Return a button's label with its key underlined, or behind it where the label has no such letter."""
    text = Text(label)
    at = label.lower().find(key)
    if key and at >= 0:
        text.stylize("underline", at, at + 1)
    elif key:
        text.append(" ").append(key, "underline")
    return text


class Button(widgets.Button):
    """A button of one row.

    Args:
        label: what stands on it.
        key: the key that presses it, if there is one.
        name: which button it is, for `Button.Pressed`.
        main: whether it is the screen's main button, in the accent colour.

    Attributes:
        words: what stands on it, without its key.
    """

    BINDINGS = [
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, label: str, name: str, *, key: str = "", main: bool = False) -> None:
        super().__init__(name=name, compact=True, variant="primary" if main else "default")
        self.write(label, key)

    @property
    def enter_does(self) -> str:
        """What Enter does here, a word for the footer."""
        return self.words.removesuffix(" ▸")

    def write(self, words: str, key: str = "") -> None:
        """Put words on the button, and mark its key."""
        self.words = words
        self.label = with_key(words, key)
