"""A field with few possible values, in one row: ‹ value ›."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ..catalogue import _
from ..glyphs import LINES, Glyphs
from ..wording import harmless


class Choice(Widget, can_focus=True):
    """Shows one of `options`; left, right, Enter and a click go through them."""

    DEFAULT_CSS = """
    Choice { height: 1; width: auto; min-width: 8; background: $surface; }
    Choice:focus { background: $primary; color: $background; text-style: bold; }
    Choice:focus:ansi { background: ansi_default; color: ansi_default; text-style: bold reverse; }
    """
    BINDINGS = [
        Binding("left", "turn(-1)", show=False),
        Binding("right,enter,space", "turn(1)", show=False),
    ]
    value: reactive[str] = reactive("", layout=True)

    class Changed(Message):
        """Another value was chosen."""

        def __init__(self, choice: Choice, value: str) -> None:
            super().__init__()
            self.choice = choice
            self.value = value

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(
        self,
        options: Sequence[tuple[str, str]],
        value: str,
        glyphs: Glyphs = LINES,
        *,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        """Make a choice of (value, label) pairs; a `value` outside of them is shown as it is."""
        super().__init__(id=id, classes=classes)
        self._glyphs = glyphs
        self.options = list(options)
        self.set_reactive(Choice.value, value)

    @property
    def enter_does(self) -> str:
        """What Enter does here, a word for the footer."""
        return _("Change")

    def render(self) -> Text:
        label = dict(self.options).get(self.value, self.value)
        return Text(f"{self._glyphs.left} {harmless(label, 60)} {self._glyphs.right}", no_wrap=True)

    def action_turn(self, by: int) -> None:
        values = [value for value, _label in self.options]
        if not values:
            return
        position = values.index(self.value) if self.value in values else -by if by > 0 else 0
        self.value = values[(position + by) % len(values)]
        self.post_message(self.Changed(self, self.value))

    def on_click(self, event: events.Click) -> None:
        self.action_turn(-1 if event.x < 2 else 1)
