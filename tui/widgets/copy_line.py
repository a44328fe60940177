"""A path or command that somebody needs elsewhere: whole, however long, and on the clipboard with one key."""

from __future__ import annotations

from rich.text import Text
from textual.binding import Binding
from textual.widgets import Static

from ..access import wizard
from ..catalogue import _
from ..wording import harmless

_LONGEST = 4000


class CopyLine(Static, can_focus=True):
    """A line with what it is for above it; Enter, y or a click copies it.

    Args:
        purpose: what it is for, translated.
        content: what is copied.
    """

    BINDINGS = [
        Binding("enter,y", "copy_line", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    CopyLine { height: auto; padding: 0 1; margin: 0 0 1 0; }
    CopyLine:focus { background: $panel; text-style: bold; }
    """

    def __init__(self, purpose: str, content: str, *, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self.purpose = purpose
        self.content_to_copy = content

    @property
    def enter_does(self) -> str:
        """What Enter does here, a word for the footer."""
        return _("Copy") if self.content_to_copy else ""

    def on_mount(self) -> None:
        self.show(self.purpose, self.content_to_copy)

    def show(self, purpose: str, content: str) -> None:
        """Show another line."""
        self.purpose, self.content_to_copy = purpose, content
        text = Text(harmless(purpose), style="dim")
        text.append(f"\n{harmless(content, _LONGEST)}" if content else "", style="not dim")
        self.update(text)

    def on_click(self) -> None:
        self.action_copy_line()

    def action_copy_line(self) -> None:
        if self.content_to_copy:
            wizard(self).copy(self.content_to_copy)
