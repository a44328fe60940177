"""Help for the step that is open, with the keys as this user has them."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import Static

from ..access import wizard
from ..actions import ACTIONS, key_label, keys_of
from ..base_screen import Dialog, WizardScreen
from ..catalogue import _
from ..wizard_settings import settings_file
from ..wording import harmless


class HelpScreen(Dialog[None]):
    """Scrolls; Esc or the help key closes it."""

    BINDINGS = [Binding("escape,question_mark,f1,q", "close", show=False)]
    help_key = ""
    DEFAULT_CSS = """
    HelpScreen .dialog { width: 90%; max-width: 100; }
    """

    def __init__(self, topic: str) -> None:
        super().__init__()
        self._topic = topic

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static(self._content())

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _content(self) -> Group:
        glyphs = wizard(self).glyphs
        below = self.app.screen_stack[-2]
        here = _columns()
        for key, words in below.button_keys() if isinstance(below, WizardScreen) else ():
            here.add_row(Text(key), Text(harmless(words)))
        keys_column = _columns()
        fixed = [
            (f"{glyphs.up_down}  1–6", _("Choose a step; the numbers work wherever nothing is typed.")),
            (glyphs.enter, _("In the list of steps: what the main button does.")),
            ("j  k  G", _("In lists and texts, where nothing is typed: ↓, ↑ and End.")),
            ("→  Tab", _("Go into the step; Tab moves on, Shift+Tab back.")),
            ("‹ ›  ← →", _("Change a value that has few choices.")),
        ]
        for keys, explanation in fixed:
            keys_column.add_row(keys, Text(explanation))
        changed = wizard(self).settings.keys
        for action in ACTIONS:
            keys_column.add_row(Text(key_label(keys_of(action.name, changed))), Text(_(action.help)))
        keys_column.add_row("Ctrl+P", Text(_("All of this by name: the command palette.")))
        where = _("Keys, theme and language can be changed in {file}").format(file=harmless(settings_file()))
        buttons = (Text(_("Buttons of this step"), style="bold"), here, Text("")) if here.rows else ()
        return Group(
            Text(self._topic.strip() + "\n" if self._topic else ""),
            *buttons,
            Text(_("Keys"), style="bold"),
            keys_column,
            Text("\n" + where),
        )

    def action_close(self) -> None:
        self.dismiss(None)


def _columns() -> Table:
    """Return a table of keys and what they do."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    # Else Rich cuts a line of wide characters that just fits, for the space behind it.
    table.add_column(overflow="fold")
    return table
