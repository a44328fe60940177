"""Containers that show nothing of their own.

Textual draws every line of a container, cuts it at the edges of all that lies on it and keeps the pieces;
with containers inside one another that is most of a screen's memory. Here all lines are one.
"""

from __future__ import annotations

from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class Plain(Widget):
    """A widget whose lines are all alike: background, padding, a frame to the left and right at most.

    The last of the bases: Textual takes a class's CSS from the first.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the first line of `crop` (columns and rows of this widget) for each of its lines."""
        return super().render_lines(crop._replace(height=1)) * crop.height


class PlainVertical(Vertical, Plain):
    """Children below one another."""


class PlainHorizontal(Horizontal, Plain):
    """Children beside one another."""
