"""A step's buttons: what else can be done, then what repeats, and last what brings the person on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult

from ..access import wizard
from ..actions import BUTTON_KEYS, key_label, keys_of
from .button import Button
from .plain import PlainHorizontal

_LAST_ROW = 2
"""As many of the last buttons stay together where not all fit into one row."""
_LEAST_CELLS = 8


class ButtonBar(PlainHorizontal):
    """One row, or two where one is too short. The last button is the main one.

    Attributes:
        STOP: name of the button that ends a job; the focus comes to it only by the user's own keys.
    """

    STOP = "stop"
    DEFAULT_CSS = """
    ButtonBar { height: auto; align-horizontal: right; }
    ButtonBar > PlainHorizontal { width: auto; height: auto; align-horizontal: right; }
    ButtonBar.-two-rows { layout: vertical; }
    ButtonBar.-two-rows > PlainHorizontal { width: 1fr; }
    ButtonBar Button { margin: 0 0 0 2; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows = (PlainHorizontal(), PlainHorizontal())
        self._wanted: tuple[tuple[str, str], ...] = ()
        self._buttons: list[Button] = []

    def compose(self) -> ComposeResult:
        yield from self._rows

    @property
    def main(self) -> Button | None:
        """The main button, None where there are none."""
        return self._buttons[-1] if self._buttons else None

    def show(self, wanted: Sequence[tuple[str, str]]) -> None:
        """Show buttons, (name, label) each; what does not change is left alone, the focus above all."""
        if tuple(wanted) == self._wanted:
            return
        self._wanted = tuple(wanted)
        if [name for name, _label in wanted] == [button.name for button in self._buttons]:
            for button, (name, label) in zip(self._buttons, wanted, strict=True):
                button.write(label, self._key_of(name))
        else:
            self._replace()
        self.on_resize()

    def _replace(self) -> None:
        old, last = self._buttons, len(self._wanted) - 1
        self._buttons = [
            Button(label, name, key=self._key_of(name), main=number == last)
            for number, (name, label) in enumerate(self._wanted)
        ]
        focused = next((button for button in old if button is self.screen.focused), None)
        upper, lower = self._rows
        for row, made in ((upper, self._buttons[:-_LAST_ROW]), (lower, self._buttons[-_LAST_ROW:])):
            row.remove_children()
            row.mount_all(made)
        if focused is not None and self._buttons:
            # At once: who has the focus is asked again before a message would arrive.
            self.screen.set_focus(self._heir_of(focused, was_main=focused is old[-1]))

    def _heir_of(self, focused: Button, was_main: bool) -> Button:
        """Return what gets the focus of a button that went.

        Whoever was at the main button stays there: that is the way on. Whoever was about to press another,
        such as that which stops, must not start something instead; and nobody comes to stop by themselves.
        """
        if was_main:
            return self._buttons[-1]
        same = [button for button in self._buttons if button.name == focused.name]
        others = [button for button in self._buttons if button.name != self.STOP]
        return [*same, *others, *self._buttons][0]

    def _key_of(self, name: str) -> str:
        """Return the key of a button; the main one has Enter."""
        if name == self._wanted[-1][0]:
            return ""
        if name == self.STOP:
            return key_label(keys_of("stop_job", wizard(self).settings.keys))
        return BUTTON_KEYS.get(name, "")

    def keys(self) -> list[tuple[str, str]]:
        """Return the key and the words of each button that has one, the main one with Enter first."""
        enter = wizard(self).glyphs.enter
        keys = [(self._key_of(name) or enter, label) for name, label in self._wanted[::-1]]
        return [pair for number, pair in enumerate(keys) if not number or pair[0] != enter]

    def pressed_by(self, key: str) -> str:
        """Return the name of the button that a key presses, empty for none."""
        others = [name for name, _label in self._wanted[:-1]]
        return next((name for name in others if BUTTON_KEYS.get(name) == key), "")

    def on_resize(self) -> None:
        """Use one row where there is room for all."""
        taken = sum(max(cell_len(str(button.label)) + 2, _LEAST_CELLS) + 2 for button in self._buttons)
        self.set_class(taken > self.size.width > 0, "-two-rows")
