"""What every screen of the wizard answers, dialogs included; the application asks the one on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.screen import ModalScreen, Screen, ScreenResultType

if TYPE_CHECKING:
    from ..core.hardware.readings import GpuReading
    from .actions import Command


class WizardScreen(Screen[ScreenResultType]):
    """A screen that has nothing to say until a subclass knows better."""

    def help_text(self) -> str:
        """Return what should be known here, "" where the list of keys is enough."""
        return ""

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

    def show_gpus(self, reading: GpuReading) -> None:
        """Take note of a reading; comes once a second, to covered screens too."""


class Dialog(ModalScreen[ScreenResultType], WizardScreen[ScreenResultType]):
    """A screen over another one, which stays visible. Its keys come before the application's."""
