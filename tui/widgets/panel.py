"""Parts of a page, each with a title: framed where there is room, so that a page shows what it is made of."""

from __future__ import annotations

from typing import TypeVar

from textual.geometry import Size
from textual.widget import Widget

_WIDE, _HIGH = 110, 30
"""Columns and rows of the screen from which parts are framed and stand beside one another."""
_Widget = TypeVar("_Widget", bound=Widget)


def is_roomy(screen: Size) -> bool:
    """Whether a screen has room for frames: they take two rows and four columns of every part."""
    return screen.width >= _WIDE and screen.height >= _HIGH


def panel(widget: _Widget, title: str, *, ruled: bool = False) -> _Widget:
    """Return a part of a page with its title.

    Args:
        ruled: the title stands on a line of its own where there is no room for a frame; else nowhere, since
            every row holds content there.
    """
    widget.border_title = title
    widget.add_class("panel", *["ruled"] * ruled)
    return widget
