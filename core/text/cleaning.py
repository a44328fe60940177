"""Cleaning of transcripts."""

from __future__ import annotations

import re

_QUOTES = str.maketrans("‘’", "''")
_EMOJI = re.compile("[\U0001f600-\U0001f64f\U0001f300-\U0001f5ff\U0001f680-\U0001f6ff\U0001f1e0-\U0001f1ff]")
_COMMAS = re.compile(",{2,}")
_MARKUP = (re.compile(r"\{.*?\}"), re.compile(r"<.*?>"))
_WHITE_SPACE = re.compile(r"\s+")


def clean_text(text: str) -> str:
    """Return a transcript as the model family expects it.

    White space at both ends goes, curly single quotes become straight, emoji go, runs of commas become one
    (formats.md section 3). A space that stood before an emoji at the end stays, as it does in the reference.
    """
    return _COMMAS.sub(",", _EMOJI.sub("", text.strip().translate(_QUOTES)))


def strip_markup(text: str) -> str:
    """Return `text` with every `{…}` and `<…>` replaced by a space and white space folded."""
    for pattern in _MARKUP:
        text = pattern.sub(" ", text)
    return _WHITE_SPACE.sub(" ", text)


def stripped_parts(text: str) -> list[str]:
    """Return what `strip_markup` takes out of `text`: parts in braces, then parts in angle brackets."""
    parts: list[str] = []
    for pattern in _MARKUP:
        parts += pattern.findall(text)
        text = pattern.sub(" ", text)
    return parts
