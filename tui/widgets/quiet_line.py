"""A line of explanation that is said again and again and drawn only when it changes."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from ..wording import harmless

_LONGEST = 1500


class QuietLine(Static):
    """Foreign text is safe in it."""

    DEFAULT_CSS = """
    QuietLine { height: auto; color: $text-muted; margin: 1 0 0 0; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._said = ""

    def say(self, text: str) -> None:
        """Show a text."""
        if text != self._said:
            self._said = text
            self.update(Text(harmless(text, _LONGEST)))
