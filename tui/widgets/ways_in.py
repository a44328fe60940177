"""An empty project: how recordings are to lie, and the ways to get there."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from ..catalogue import _
from ..wording import harmless

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

    def show_layout(self, folder: str) -> None:
        """Show the picture for the data set's folder."""
        if folder != self._folder:
            self._folder = folder
            self.update(layout(folder))


def layout(folder: str) -> Text:
    """Return the picture and the ways as text."""
    picture = (
        (f"{folder}/", ""),
        ("  yoona/", _("one folder per speaker")),
        ("    001.wav", _("a clip of 3 to 15 s (wav, mp3, flac)")),
        ("    001.lab", _("its words, as UTF-8 text")),
        ("    002.wav …", ""),
    )
    ways = (
        (_("Folder of clips…"), _("Laid out like this, or with a table (metadata.csv).")),
        (_("Prepare recordings…"), _("Long recordings: cut at pauses and transcribed.")),
        (_("Try the demo"), _("A small project with everything, in its own folder.")),
    )
    text = Text()
    text.append(_("Recordings and their words are to lie like this:") + "\n\n", style="bold")
    for place, meaning in picture:
        text.append(f"  {harmless(place)}".ljust(_LEFT))
        text.append(f"  {meaning}\n", style="dim")
    text.append("\n" + _("Three ways to get there:"), style="bold")
    for name, meaning in ways:
        text.append(f"\n  {name}", style="bold")
        text.append(f"\n    {meaning}", style="dim")
    return text
