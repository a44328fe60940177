"""A text in which a place between two words is chosen with the arrow keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.binding import Binding
from textual.message import Message
from textual.widgets import Static

from ..catalogue import _
from ..wording import decimal, harmless

if TYPE_CHECKING:
    from ...core.dataset.places import Gap

_MARK = "|"


class WordPicker(Static, can_focus=True):
    """Shows words with a mark before one of them, and what is known of the place there."""

    BINDINGS = [
        Binding("left", "move(-1)", show=False),
        Binding("right", "move(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("enter", "pick", show=False),
        Binding("l", "listen", show=False),
    ]
    DEFAULT_CSS = """
    WordPicker { height: auto; }
    """

    class Picked(Message):
        """The place was chosen: before the word of this number, at so many seconds."""

        def __init__(self, before: int, at: float) -> None:
            super().__init__()
            self.before = before
            self.at = at

    class Listening(Message):
        """Recognition is to say where the words are."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, markup=False)
        self._words: Sequence[str] = ()
        self._gaps: Sequence[Gap] = ()
        self._before = 1
        self._can_listen = False
        self._is_moved = False
        self._is_picked = False
        self._waits_for = ""

    def offer(self, words: Sequence[str]) -> None:
        """Show words, of which there are two or more, before it is known where they are said."""
        self._words, self._gaps, self._before = words, (), 1
        self._can_listen = self._is_moved = self._is_picked = False
        self._waits_for = _("Looking for its pauses…")
        self._show()

    def know(self, gaps: Sequence[Gap], can_listen: bool) -> None:
        """Take in the places between the words; the longest pause is marked unless a place was chosen."""
        self._gaps, self._can_listen, self._waits_for = gaps, can_listen, ""
        if not self._is_moved:
            pauses = [gap.pause for gap in gaps]
            self._before = pauses.index(max(pauses)) + 1
        if self._is_picked:
            self.action_pick()
        self._show()

    def stay_estimated(self) -> None:
        """Leave the places as they are known: listening failed."""
        self.know(self._gaps, can_listen=False)

    def _show(self) -> None:
        text = Text(self._about() + "\n", style="dim")
        for number, word in enumerate(self._words):
            if number == self._before:
                text.append(f"{_MARK} ", style="bold reverse not dim")
            text.append(harmless(word) + " ", style="not dim")
        self.update(text)

    def _about(self) -> str:
        """Return what is known of the place that is marked."""
        if self._waits_for:
            return self._waits_for
        gap = self._gaps[self._before - 1]
        places = {"at": decimal(gap.at, 2), "pause": decimal(gap.pause, 2)}
        if gap.is_estimated:
            text = (
                _("At about {at} s, estimated, in a pause of {pause} s.")
                if gap.pause
                else _("At about {at} s, estimated: there is no pause near.")
            )
        else:
            text = (
                _("At {at} s, in a pause of {pause} s.")
                if gap.pause
                else _("At {at} s, by recognition: there is no pause.")
            )
        offered = _("l listens for the words.") if self._can_listen else ""
        return f"{text.format(**places)} {offered}".rstrip()

    def action_move(self, steps: int) -> None:
        self._before = min(max(self._before + steps, 1), len(self._words) - 1)
        self._is_moved = True
        self._show()

    def action_pick(self) -> None:
        self._is_moved = self._is_picked = True
        if self._gaps and not self._waits_for:
            self.post_message(self.Picked(self._before, self._gaps[self._before - 1].at))

    def action_listen(self) -> None:
        if self._can_listen and not self._waits_for:
            self._waits_for = _("Listening to the clip…")
            self._show()
            self.post_message(self.Listening())
