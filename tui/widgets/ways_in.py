"""An empty project: how recordings are to lie, and the ways to get there."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.widgets import Static

from ..catalogue import _
from ..histogram import beside
from ..wording import harmless
from .panel import panel

_WIDE = 90
_LEFT = 16
"""Cells of the picture, beside which it is explained."""


class WaysIn(Static):
    """A picture of the wanted layout, and what the buttons below lead to."""

    DEFAULT_CSS = """
    WaysIn { height: auto; margin: 1 0 0 0; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._folder = ""
        panel(self, _("Recordings"))

    def show_layout(self, folder: str) -> None:
        """Show the picture for the data set's folder."""
        if folder != self._folder:
            self._folder = folder
            self._show()

    def on_resize(self, _event: events.Resize) -> None:
        """Put the picture and the ways beside each other where there is room."""
        self._show()

    def _show(self) -> None:
        picture, ways, width = layout(self._folder), ways_in(), self.size.width
        wide = width >= _WIDE
        self.update(beside(picture, ways, width // 2) if wide else Text("\n\n").join([picture, ways]))


def layout(folder: str) -> Text:
    """Return the picture, explained beside it."""
    picture = (
        (f"{folder}/", ""),
        ("  yoona/", _("one folder per speaker")),
        ("    001.wav", _("a clip of 3 to 15 s (wav, mp3, flac)")),
        ("    001.lab", _("its words, as UTF-8 text")),
        ("    002.wav …", ""),
    )
    text = Text()
    text.append(_("Recordings and their words are to lie like this:") + "\n", style="bold")
    for place, meaning in picture:
        text.append(f"\n  {harmless(place)}".ljust(_LEFT + 1))
        text.append(f"  {meaning}", style="dim")
    return text


def ways_in() -> Text:
    """Return what the buttons lead to."""
    ways = (
        (_("Folder of clips…"), _("Laid out like this, or with a table (metadata.csv).")),
        (_("Prepare recordings…"), _("Long recordings: cut at pauses and transcribed.")),
        (_("Try the demo"), _("A small project with everything, in its own folder.")),
    )
    text = Text(_("Three ways to get there:"), style="bold")
    for name, meaning in ways:
        text.append(f"\n  {name}", style="bold")
        text.append(f"\n    {meaning}", style="dim")
    return text
