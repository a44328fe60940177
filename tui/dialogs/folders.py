"""Choosing a folder: type its path with completion, or walk through the folders below."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from ..access import wizard
from ..base_screen import Dialog
from ..catalogue import _
from ..trouble import in_background
from ..widgets.button import Button
from ..widgets.folder_suggester import FolderSuggester, begun_anew, expanded
from ..wording import harmless, plain

_MOST = 500


class FolderScreen(Dialog[Path | None]):
    """Gives the chosen folder, None where the user went back."""

    BINDINGS = [
        Binding("escape", "cancel", show=False),
        Binding("down", "into_list", show=False),
        Binding("f1", "app.show_help", show=False),
    ]
    DEFAULT_CSS = """
    FolderScreen .dialog { height: 20; }
    FolderScreen OptionList { height: 1fr; border: none; background: $surface; padding: 0; margin: 1 0 0 0; }
    """

    def __init__(self, question: str, start: Path) -> None:
        super().__init__()
        self._question = question
        self._start = start
        self._names: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(harmless(self._question)), classes="title", markup=False)
            yield Input(
                f"{self._start}{os.sep}", compact=True, select_on_focus=False, suggester=FolderSuggester()
            )
            yield OptionList(markup=False, compact=True)
            with Horizontal(classes="buttons"):
                yield Button(_("Cancel"), "cancel")
                yield Button(_("Choose"), "ok", main=True)

    def on_mount(self) -> None:
        box = self.query_one(Input)
        box.cursor_blink = False
        box.focus()
        box.cursor_position = len(box.value)

    def on_input_changed(self, event: Input.Changed) -> None:
        written = begun_anew(event.value)
        if written != event.value:
            event.input.value = written  # which is a change of its own
            event.input.cursor_position = len(written)
            return
        in_background(self, lambda: self._list(event.value), wizard(self).tell_error, "list")

    async def _list(self, written: str) -> None:
        names = await asyncio.to_thread(subfolders, written)
        self._names = names
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(plain("..")), *[Option(plain(name)) for name in names]])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        box = self.query_one(Input)
        here = box.value[: box.value.rfind(os.sep) + 1]
        if event.option_index == 0:
            target = str(expanded(here).parent)
        else:
            target = here + self._names[event.option_index - 1]
        box.value = target.rstrip(os.sep) + os.sep
        box.cursor_position = len(box.value)

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self._answer()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.name == "ok":
            self._answer()
        else:
            self.dismiss(None)

    def _answer(self) -> None:
        self.dismiss(expanded(self.query_one(Input).value.strip()).absolute())

    def help_text(self) -> str:
        """Return what should be known here."""
        return _(
            "Type a path; the key → takes the completion that is shown behind it, Enter chooses the path.\n"
            "The key ↓ goes into the list of folders; Enter there opens one, and .. leads up."
        )

    def action_cancel(self) -> None:
        self.dismiss(None)

    def action_into_list(self) -> None:
        self.query_one(OptionList).focus()


def subfolders(written: str) -> list[str]:
    """Return the names of the folders that `written`, a path perhaps half typed, may go on to."""
    parent, begun = os.path.split(written)
    try:
        with os.scandir(expanded(parent or ".")) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(begun) and entry.is_dir()]
    except (OSError, ValueError):
        return []
    return sorted(name for name in names if begun.startswith(".") or not name.startswith("."))[:_MOST]
