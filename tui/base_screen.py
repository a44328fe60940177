"""What every screen of the wizard answers, dialogs included; the application asks the one on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding
from textual.screen import ModalScreen, Screen, ScreenResultType

from .access import SaysEnter, wizard
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

    def show_keys(self) -> None:
        """Say in the footer what the keys do; those of the dialog that lies on this screen, if one does."""

    @property
    def keys_on_top(self) -> list[tuple[str, str]] | None:
        """Keys of what covers this screen, (key, label) each; None where nothing does."""
        on_top = self.app.screen
        if on_top is self:
            return None
        if isinstance(on_top, Dialog):
            return on_top.keys()
        return [("Esc", _("Back")), (wizard(self).glyphs.enter, _("Run"))]  # the palette, which is Textual's

    def enter_does(self) -> str:
        """Return what Enter does where the focus is, a word for the footer; "" for nothing.

        The wizard's own widgets know; what it does in Textual's is for a subclass to say.
        """
        return self.focused.enter_does if isinstance(self.focused, SaysEnter) else ""


class Dialog(ModalScreen[ScreenResultType], WizardScreen[ScreenResultType]):
    """A screen over another one, which stays visible. Its keys come before the application's.

    Attributes:
        help_key: the key that explains it; "" for none.
    """

    help_key: ClassVar[str] = "F1"

    def on_mount(self) -> None:
        self.watch(self, "focused", self._tell_keys, init=False)

    def on_screen_resume(self) -> None:
        """Say what its keys do again after another dialog lay over it."""
        self._tell_keys()

    def _tell_keys(self) -> None:
        for screen in self.app.screen_stack:
            if isinstance(screen, WizardScreen):
                screen.show_keys()

    def keys(self) -> list[tuple[str, str]]:
        """Return what keys do here, (key, label) each, for the footer of the screen below."""
        does = self.enter_does()
        shown = [("Esc", _("Back"))]
        shown += [(self.help_key, _("Help"))] if self.help_key else []
        return [*shown, (wizard(self).glyphs.enter, does)] if does else shown

    def enter_does(self) -> str:
        from textual.widgets import Input, OptionList

        match self.focused:
            case Input():
                # In most dialogs Enter answers from a field, too: the last button is the one that does.
                answers = [
                    button.enter_does for button in self.query("Button") if isinstance(button, SaysEnter)
                ]
                return answers[-1] if answers else ""
            case OptionList():
                return _("Open")
            case _:
                return super().enter_does()
