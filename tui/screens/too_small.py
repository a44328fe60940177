"""What is shown while the window is too small."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from ..base_screen import Dialog


class TooSmallScreen(Dialog[None]):
    """One sentence that names the size that is needed."""

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self._sentence = sentence

    def compose(self) -> ComposeResult:
        yield Static(Text(self._sentence), markup=False)

    def show(self, sentence: str) -> None:
        """Show another sentence: the size changed and is still too small."""
        self.query_one(Static).update(Text(sentence))
