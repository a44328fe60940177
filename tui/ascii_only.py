"""Signs that a terminal without line drawing lacks, and what stands for them.

A filter of everything that is drawn, so that no widget, Textual's own included, can forget it. Letters are
left alone, whatever their script: names and transcripts stay what they are.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_STAND_INS = {
    "\u00a0": " ",
    "°": " ",
    "·": "|",
    "×": "x",
    "‐": "-",
    "‑": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "•": "o",
    "…": ".",
    "‹": "<",
    "›": ">",
    "←": "<",
    "↑": "^",
    "→": ">",
    "↓": "v",
    "⏎": ">",
    "␣": "_",
    "≈": "~",
    "≤": "<",
    "≥": ">",
    "│": "|",
    "┃": "|",
    "║": "|",
    "─": "-",
    "━": "-",
    "═": "-",
    "▁": "_",
    "▔": "-",
    " ": " ",
    "⠀": " ",
    "●": "*",
    "✓": "v",
    "✗": "x",
    "▶": ">",
    "▸": ">",
    "\ufffd": "?",
}
_SIGNS = (
    (0x2000, 0x24FF, "?"),
    (0x2500, 0x257F, "+"),
    (0x2580, 0x25FF, "#"),
    (0x2600, 0x27FF, "?"),
    (0x2800, 0x28FF, "*"),
    (0x2900, 0x2BFF, "?"),
)
"""Blocks of Unicode, first and last code point, and what stands for the rest of their signs."""


class _Table(dict[int, str]):
    """For `str.translate`: learns each character when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        stand_in = _STAND_INS.get(character)
        if stand_in is None and cell_len(character) == 1:
            stand_in = next((other for first, last, other in _SIGNS if first <= code <= last), None)
        self[code] = character if stand_in is None else stand_in
        return self[code]


_TABLE = _Table()


class AsciiOnly(LineFilter):
    """Replaces every sign by one of ASCII that takes as many cells."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        """Return the segments with their signs replaced."""
        return [
            segment
            if segment.control or segment.text.isascii()
            else segment._replace(text=plain(segment.text))
            for segment in segments
        ]


def plain(text: str) -> str:
    """Return `text` with its signs, but not its letters, in ASCII; as many cells as before."""
    return text.translate(_TABLE)
