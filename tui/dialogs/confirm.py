"""A question with two answers, asked before something is given up."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from ..base_screen import Dialog
from ..catalogue import _
from ..widgets.button import Button
from ..wording import harmless


class ConfirmScreen(Dialog[bool]):
    """Gives True if the user wants it. The focus lies on the answer that changes nothing.

    Args:
        question: what is asked, a sentence.
        explanation: what would happen, with its numbers.
        yes, no: the labels of the answers.
        yes_keys: keys that answer yes, in Textual's names.
    """

    BINDINGS = [
        Binding("escape,n", "answer(False)", show=False),
        Binding("question_mark,f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    ConfirmScreen Static { height: auto; }
    """

    def __init__(self, question: str, explanation: str, yes: str, no: str, yes_keys: str = "y") -> None:
        super().__init__()
        self._question = question
        self._explanation = explanation
        self._yes = yes
        self._no = no
        self._bindings.bind(yes_keys, "answer(True)", show=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(harmless(self._question)), classes="title", markup=False)
            yield Static(
                Text("\n".join(harmless(line) for line in self._explanation.splitlines())), markup=False
            )
            with Horizontal(classes="buttons"):
                yield Button(self._yes, "yes")
                yield Button(self._no, "no", main=True)

    def on_mount(self) -> None:
        self.query(Button).last().focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.name == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def help_text(self) -> str:
        """Return what should be known here."""
        return _("Enter presses the answer that has the focus; Esc changes nothing.")
