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
    """A widget whose lines are all alike but for those of a frame: background, padding, edges.

    The last of the bases: Textual takes a class's CSS from the first.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines of `crop` (columns and rows of this widget); all within the frame are one."""
        framed = {0} if self.styles.border_top[0] else set()
        framed |= {self.outer_size.height - 1} if self.styles.border_bottom[0] else set()
        lines: list[Strip] = []
        inner: list[Strip] = []
        for y in range(crop.y, crop.bottom):
            if y in framed:
                lines += super().render_lines(crop._replace(y=y, height=1))
            else:
                inner = inner or super().render_lines(crop._replace(y=y, height=1))
                lines += inner
        return lines


class PlainVertical(Vertical, Plain):
    """Children below one another."""


class PlainHorizontal(Horizontal, Plain):
    """Children beside one another."""
