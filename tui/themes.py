"""Themes: one accent colour each; states are told apart by mark and word, never by colour alone."""

from __future__ import annotations

from textual.theme import Theme

DEFAULTS = {"frame": "ansi_default"}
"""Variables that themes other than ours lack."""

DARK = Theme(
    name="fishtune-dark",
    primary="#5fafd7",
    secondary="#5fafd7",
    accent="#5fafd7",
    warning="#d7af5f",
    error="#e06c6c",
    success="#87af87",
    foreground="#d0d0d0",
    background="#1c1c1c",
    surface="#262626",
    panel="#303030",
    dark=True,
    variables={"frame": "#626262", "block-cursor-text-style": "none"},
)
LIGHT = Theme(
    name="fishtune-light",
    primary="#005f87",
    secondary="#005f87",
    accent="#005f87",
    warning="#875f00",
    error="#af0000",
    success="#3a6b35",
    foreground="#262626",
    background="#f5f5f0",
    surface="#e8e8e2",
    panel="#dadad2",
    dark=False,
    variables={"frame": "#8a8a8a", "block-cursor-text-style": "none"},
)
HIGH_CONTRAST = Theme(
    name="high-contrast",
    primary="#ffff00",
    secondary="#ffff00",
    accent="#ffff00",
    warning="#ffd700",
    error="#ff8787",
    success="#87ff87",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1c1c1c",
    dark=True,
    text_alpha=1.0,
    variables={"frame": "#ffffff", "block-cursor-text-style": "bold", "border-blurred": "#ffffff"},
)
OURS = (DARK, LIGHT, HIGH_CONTRAST)
