"""A question with one line for the answer."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ..base_screen import Dialog
from ..catalogue import _
from ..widgets.button import Button
from ..widgets.folder_suggester import FolderSuggester
from ..wording import harmless


class PromptScreen(Dialog[str | None]):
    """Gives the answer, None where the user went back.

    Args:
        secret: show dots instead of what is typed.
        explanation: what should be known before answering.
    """

    BINDINGS = [
        Binding("escape", "cancel", show=False),
        Binding("f1", "app.show_help", show=False),
    ]

    def __init__(
        self, question: str, value: str = "", *, secret: bool = False, explanation: str = ""
    ) -> None:
        super().__init__()
        self._question = question
        self._value = value
        self._secret = secret
        self._explanation = explanation

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(harmless(self._question)), classes="title", markup=False)
            if self._explanation:
                yield Static(Text(harmless(self._explanation)), markup=False)
            yield Input(
                self._value,
                password=self._secret,
                compact=True,
                suggester=None if self._secret else FolderSuggester(),
            )
            with Horizontal(classes="buttons"):
                yield Button(_("Cancel"), "cancel")
                yield Button(_("OK"), "ok", main=True)

    def on_mount(self) -> None:
        box = self.query_one(Input)
        box.cursor_blink = False
        box.focus()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self._answer()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.name == "ok":
            self._answer()
        else:
            self.dismiss(None)

    def _answer(self) -> None:
        self.dismiss(self.query_one(Input).value.strip())

    def help_text(self) -> str:
        """Return what should be known here."""
        return _("Enter takes the answer, Esc goes back without one. The key → completes a path.")

    def action_cancel(self) -> None:
        self.dismiss(None)
