"""What every screen of the wizard answers, dialogs included; the application asks the one on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.screen import ModalScreen, Screen, ScreenResultType

from .access import wizard
from .actions import key_label, keys_of
from .catalogue import _

if TYPE_CHECKING:
    from ..core.hardware.readings import GpuReading
    from .actions import Command


class WizardScreen(Screen[ScreenResultType]):
    """A screen that has nothing to say until a subclass knows better.

    `j`, `k` and `G` are ↓, ↑ and End wherever nothing is typed: in lists, tables, texts and among buttons.
    """

    BINDINGS = [
        Binding("j", "as_if_pressed('down')", show=False),
        Binding("k", "as_if_pressed('up')", show=False),
        Binding("G", "as_if_pressed('end')", show=False),
    ]

    def help_text(self) -> str:
        """Return what should be known here, "" where the list of keys is enough."""
        return ""

    def button_keys(self) -> list[tuple[str, str]]:
        """Return the key and the words of each of its buttons, for its help."""
        return []

    def text_to_copy(self) -> str:
        """Return what the copy key takes, "" for what is selected with the mouse."""
        return ""

    def commands(self) -> list[Command]:
        """Return what the palette can do here besides the actions with keys."""
        return []

    def go_back(self) -> None:
        """Close, unless this is the start page, which lies on Textual's own first screen."""
        if len(self.app.screen_stack) > 2:
            self.app.pop_screen()

    async def action_as_if_pressed(self, key: str) -> None:
        """Do what another key does where the focus is; at once, since the next key may be there already."""
        active = self.active_bindings.get(key)
        if active is not None and active.enabled:
            await self.app.run_action(active.binding.action, active.node)

    def action_copy_text(self) -> None:
        """Copy what is selected with the mouse; else say how the wizard is left, which Ctrl+C does not do."""
        selected = self.get_selected_text()
        if selected:
            wizard(self).copy(selected)
            return
        keys = keys_of("leave", wizard(self).settings.keys).split(",")
        shown = " / ".join(key_label(key) for key in keys)
        wizard(self).tell(_("To leave: {keys}. A running job keeps running.").format(keys=shown))

    def show_gpus(self, reading: GpuReading) -> None:
        """Take note of a reading; comes once a second, to covered screens too."""


class Dialog(ModalScreen[ScreenResultType], WizardScreen[ScreenResultType]):
    """A screen over another one, which stays visible. Its keys come before the application's."""
