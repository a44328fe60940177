"""How much more a finished run is to be trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from ..access import wizard
from ..base_screen import Dialog
from ..catalogue import _
from ..widgets.button import Button
from ..widgets.choice import Choice
from ..wording import harmless

if TYPE_CHECKING:
    from ...core.pipeline.plan import Unit

_LARGEST = 1e9


class MoreTrainingScreen(Dialog["tuple[float, Unit] | None"]):
    """Gives an amount and its unit, None where the user went back.

    Args:
        done: what is done, a sentence.
        total: says what the run comes to with so much more, while it is typed.
        units: the units that can be chosen, (name, label).
        suggested: what stands in the field at first.
    """

    BINDINGS = [
        Binding("escape", "cancel", show=False),
        Binding("f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    MoreTrainingScreen Static { height: auto; }
    MoreTrainingScreen #amount { height: 1; margin: 1 0; }
    MoreTrainingScreen Input { width: 14; }
    """

    def __init__(
        self,
        done: str,
        total: Callable[[float, Unit], str],
        units: list[tuple[str, str]],
        suggested: str,
    ) -> None:
        super().__init__()
        self._done = done
        self._total = total
        self._units = units
        self._suggested = suggested

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(_("How much more?")), classes="title", markup=False)
            yield Static(Text(harmless(self._done)), markup=False)
            with Horizontal(id="amount"):
                yield Input(self._suggested, compact=True)
                yield Choice(self._units, self._units[0][0], wizard(self).glyphs, id="unit")
            yield Static("", id="total", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(_("Cancel"), "cancel")
                yield Button(_("Continue training"), "ok", main=True)

    def on_mount(self) -> None:
        box = self.query_one(Input)
        box.cursor_blink = False
        box.focus()
        self._explain()

    def _answer(self) -> tuple[float, Unit] | None:
        try:
            amount = float(self.query_one(Input).value)
        except ValueError:
            return None
        unit: Unit = "steps" if self.query_one(Choice).value == "steps" else "epochs"
        return (amount, unit) if math.isfinite(amount) and 0 < amount <= _LARGEST else None

    def _explain(self) -> None:
        answer = self._answer()
        text = self._total(*answer) if answer is not None else _("A number above 0 is needed here.")
        self.query_one("#total", Static).update(Text(harmless(text)))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._explain()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        event.stop()
        self._explain()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._take()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.name == "ok":
            self._take()
        else:
            self.dismiss(None)

    def _take(self) -> None:
        answer = self._answer()
        if answer is not None:
            self.dismiss(answer)

    def help_text(self) -> str:
        """Return what should be known here."""
        return _(
            "The run continues from its last checkpoint to the new total, which is written into the project "
            "file. Enter starts it, Esc changes nothing."
        )

    def action_cancel(self) -> None:
        self.dismiss(None)
