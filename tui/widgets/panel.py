"""Parts of a page, each with a title: framed where there is room, so that a page shows what it is made of."""

from __future__ import annotations

from typing import TypeVar

from textual.geometry import Size
from textual.widget import Widget

_WIDE, _HIGH = 110, 30
"""Columns and rows of the screen from which parts are framed and stand beside one another."""
FRAMES = """
.ruled { border-top: solid $frame; border-title-color: $foreground; border-title-style: bold; }
.roomy .panel {
    border: solid $frame;
    border-title-color: $foreground;
    border-title-style: bold;
    padding: 0 1;
    margin: 0;
}
/* Their cells have a column of their own on both sides. */
.roomy Table.panel { padding: 0; }
.roomy FindingList #filter-row Label { display: none; }
.roomy ModelPane #disk, .roomy TrainPane #forecast, .roomy DataView #top { margin: 0; }
.roomy ModelPane #offers { max-height: 12; }
.roomy ModelPane #files { max-height: 16; }
.roomy ModelPane #found { max-height: 12; }
.roomy ExtractPane #parts, .broad MergePane #parts { layout: horizontal; }
.roomy ExtractPane #choices, .roomy ExtractPane #suggestion { width: 1fr; }
.broad TrainPane #forecast { max-width: 100%; }
.broad MergePane #form { width: 2fr; }
.broad MergePane #result { width: 3fr; }
.roomy PackPane #packed-speakers, .roomy PackPane #packed-dropped { max-height: 12; }
.roomy GpuGauge { max-height: 4; }
.roomy TrainingMonitor #side { width: 48; padding: 0; }
"""
"""The style of a screen with parts, which goes before what widgets say of themselves. It is not
the application's, since the first paint waits for that."""
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
