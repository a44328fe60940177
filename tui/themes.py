"""Themes: one accent colour each; states are told apart by mark and word, never by colour alone.

What is drawn has the contrast of WCAG AA in each of them; a test looks at all pages. Another holds that the
colours of states stay apart for those who see red, green or blue in another way.
"""

from __future__ import annotations

from dataclasses import replace

from rich.terminal_theme import TerminalTheme
from textual.theme import BUILTIN_THEMES, Theme

DEFAULTS = {"frame": "ansi_default", "muted": "ansi_default"}
"""Variables that themes other than ours lack."""

DARK = Theme(
    name="fishtune-dark",
    primary="#5fafd7",
    secondary="#5fafd7",
    accent="#5fafd7",
    warning="#d7af5f",
    error="#ff8787",
    success="#87d7af",
    foreground="#d0d0d0",
    background="#1c1c1c",
    surface="#262626",
    panel="#303030",
    dark=True,
    variables={
        "frame": "#767676",
        "muted": "#9e9e9e",
        "block-cursor-text-style": "none",
        "input-selection-background": "#3a5a6a",
        "scrollbar": "#4a7a90",
    },
)
LIGHT = Theme(
    name="fishtune-light",
    primary="#005f87",
    secondary="#005f87",
    accent="#005f87",
    warning="#906000",
    error="#a00020",
    success="#004000",
    foreground="#262626",
    background="#f5f5f0",
    surface="#e8e8e2",
    panel="#dadad2",
    dark=False,
    variables={
        "frame": "#767676",
        "muted": "#626262",
        "block-cursor-text-style": "none",
        "scrollbar": "#5f7f8f",
    },
)
HIGH_CONTRAST = Theme(
    name="high-contrast",
    primary="#ffff00",
    secondary="#ffff00",
    accent="#ffff00",
    warning="#d7af00",
    error="#ff8787",
    success="#87ff87",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1c1c1c",
    dark=True,
    text_alpha=1.0,
    variables={
        "frame": "#ffffff",
        "muted": "#d0d0d0",
        "block-cursor-text-style": "bold",
        "border-blurred": "#ffffff",
        "input-selection-background": "#5f5f00",
    },
)
ANSI = replace(
    BUILTIN_THEMES["ansi-dark"],
    primary="ansi_bright_cyan",
    secondary="ansi_bright_cyan",
    accent="ansi_bright_cyan",
    warning="ansi_bright_yellow",
    error="ansi_bright_red",
    success="ansi_bright_green",
    variables={
        **BUILTIN_THEMES["ansi-dark"].variables,
        "input-selection-background": "ansi_cyan",
        "scrollbar": "ansi_cyan",
    },
)
"""The terminal's own colours, those of them that most terminals show bright enough: blue and red are not."""
OURS = (DARK, LIGHT, HIGH_CONTRAST, ANSI)

_INK = [(38, 38, 38), (175, 0, 0), (0, 95, 0), (135, 95, 0), (0, 95, 135), (135, 0, 95), (0, 95, 95)]
NAMED_ON_LIGHT = TerminalTheme((245, 245, 240), (38, 38, 38), [*_INK, (90, 90, 90)], [*_INK, (60, 60, 60)])
"""What named colours, those of curves above all, are on a light background; Textual's yellow is too faint."""
