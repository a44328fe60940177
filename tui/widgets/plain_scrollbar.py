"""A scroll bar of blanks, for terminals without block characters."""

from __future__ import annotations

from textual.scrollbar import ScrollBarRender


class PlainScrollBarRender(ScrollBarRender):
    """Draws whole cells only."""

    VERTICAL_BARS = [" "] * 8
    HORIZONTAL_BARS = [" "] * 8
    BLANK_GLYPH = " "
