"""A text in which a place between two words is chosen with the arrow keys."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.binding import Binding
from textual.message import Message
from textual.widgets import Static

from ..wording import harmless

_MARK = "|"


class WordPicker(Static, can_focus=True):
    """Shows words with a mark before one of them."""

    BINDINGS = [
        Binding("left", "move(-1)", show=False),
        Binding("right", "move(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("enter", "pick", show=False),
    ]
    DEFAULT_CSS = """
    WordPicker { height: auto; }
    """

    class Picked(Message):
        """The place was chosen: before the word of this number."""

        def __init__(self, before: int) -> None:
            super().__init__()
            self.before = before

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self._words: Sequence[str] = ()
        self._before = 1

    def offer(self, words: Sequence[str], before: int) -> None:
        """Show words, of which there are two or more, with the mark before one."""
        self._words = words
        self._before = before
        self._show()

    def _show(self) -> None:
        text = Text()
        for number, word in enumerate(self._words):
            if number == self._before:
                text.append(f"{_MARK} ", style="bold reverse")
            text.append(harmless(word) + " ")
        self.update(text)

    def action_move(self, steps: int) -> None:
        self._before = min(max(self._before + steps, 1), len(self._words) - 1)
        self._show()

    def action_pick(self) -> None:
        self.post_message(self.Picked(self._before))
