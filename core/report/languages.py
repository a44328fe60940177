"""What a page says in every language: texts of the page by key, messages of the engine by their template."""

from __future__ import annotations

import gettext
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path

from ..messages import Message
from ..particles import fill
from ..tables import parse_toml

LANGUAGES = ("en", "ko")
Said = dict[str, str]
"""A text by language."""


def said(text: str) -> Said:
    """Return a text of the engine in every language: where the catalogue lacks it, in English."""
    if not isinstance(text, Message):
        return dict.fromkeys(LANGUAGES, str(text))
    return {
        language: text.translated(_catalogue(language).gettext, fill) if language != "en" else str(text)
        for language in LANGUAGES
    }


def page_texts(folder: Traversable) -> dict[str, Said]:
    """Return the texts of a page by key, from `texts.toml` in its folder."""
    file = folder / "texts.toml"
    return {key: dict(text) for key, text in parse_toml(file.read_text("utf-8"), file.name).items()}


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    # The catalogue is one for the whole tool; it lies with the wizard, as the engine itself speaks English.
    folder = Path(__file__).parents[2] / "tui" / "locale"
    return gettext.translation("fishtune", folder, [language], fallback=True)
