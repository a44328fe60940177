"""Calling a user who looks elsewhere, over SSH and through tmux: the terminal's bell, and a notification."""

from __future__ import annotations

import os

from textual.app import App

from ..core.config.settings import NotifyOptions
from ..core.terminal import visible_line

_LONGEST = 200
"""Characters of a notification; terminals cut off what is longer."""


def call_for_attention(app: App[None], text: str, options: NotifyOptions) -> None:
    """Ring the terminal's bell and ask it for a notification of the desktop, as far as a user wants them.

    Terminals that do not know OSC 9 pass over it; nothing tells.
    """
    if options.bell:
        app.bell()
    driver = app._driver
    if options.desktop and driver is not None and not app.is_headless:
        driver.write(notification(text, in_tmux=bool(os.environ.get("TMUX"))))


def notification(text: str, *, in_tmux: bool) -> str:
    """Return the sequence (OSC 9) that makes a terminal show a notification with one line of text.

    tmux hands it on where `allow-passthrough` is on.
    """
    shown = visible_line(text)[:_LONGEST]
    sequence = f"\x1b]9;{shown}\x07"
    return f"\x1bPtmux;\x1b{sequence}\x1b\\" if in_tmux else sequence
