"""Where a step says what went wrong and what to do next."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from ...core.errors import FishtuneError
from ..catalogue import _, sentence
from ..wording import harmless

_LONGEST = 1500


class Notice(VerticalScroll, can_focus=False):
    """Some wrapped lines; takes no room while there is nothing to say, and scrolls where there is much."""

    DEFAULT_CSS = """
    Notice { height: auto; max-height: 12; display: none; margin: 0 0 1 0; scrollbar-size-vertical: 1; }
    Notice Static { height: auto; }
    Notice:focus { background: $surface; }
    Notice.-shown { display: block; }
    Notice.-error { color: $error; }
    Notice.-warning { color: $warning; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.text = ""
        self._line = Static("", markup=False)

    def compose(self) -> ComposeResult:
        yield self._line

    def watch_virtual_size(self) -> None:
        """Focusable only where there is something to scroll."""
        self.can_focus = self.virtual_size.height > self.size.height > 0

    def clear(self) -> None:
        """Remove what was shown."""
        self._show("", "")

    def show_error(self, error: FishtuneError) -> None:
        """Show an error of the engine with its hint."""
        self.show_failure(sentence(error.message), sentence(error.hint))

    def show_failure(self, message: str, hint: str = "", more: str = "") -> None:
        """Show what failed, what to do next and, in a line of its own, where more stands."""
        text = _with_hint(_("Error: {message}").format(message=message), hint)
        self._show(f"{text}\n{more}" if more else text, "-error")

    def show_warning(self, message: str, hint: str = "") -> None:
        """Show what is worth knowing and stops nothing."""
        self._show(_with_hint(_("Note: {message}").format(message=message), hint), "-warning")

    def show_plain(self, message: str) -> None:
        """Show a message that is neither."""
        self._show(message, "")

    def _show(self, text: str, kind: str) -> None:
        lines = [harmless(line, _LONGEST) for line in text.splitlines()]
        text = "\n".join(lines)
        if text == self.text and self.has_class(kind or "-plain"):
            return
        self.text = text
        for name in ("-error", "-warning", "-plain"):
            self.set_class(name == (kind or "-plain"), name)
        self.set_class(bool(text), "-shown")
        self._line.update(Text(text))


def _with_hint(message: str, hint: str) -> str:
    return f"{message}\n→ {hint}" if hint else message
