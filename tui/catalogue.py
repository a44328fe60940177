"""One catalogue for every text of the wizard: English is the key, `locale/` holds the others.

    from .catalogue import _
    label = _("Checkpoints")

`benchmarks/catalogue.py` collects the keys from the code into the `.po` files and compiles them.
"""

from __future__ import annotations

import gettext
import os
import re
from functools import lru_cache
from pathlib import Path

LANGUAGES = ("en", "ko")
LOCALE_FOLDER = Path(__file__).parent / "locale"
ENGINE_KEYS = LOCALE_FOLDER / "engine.txt"
"""Sentences of the engine that the catalogue has, one a line; `benchmarks/catalogue.py` collects them."""
_SURE = 10
"""Letters that a key must have to be taken for any sentence that it matches."""
_active: gettext.NullTranslations = gettext.NullTranslations()


def use_language(language: str) -> None:
    """Make `language` (one of LANGUAGES) the language of all texts from now on."""
    global _active
    if language == "en":
        _active = gettext.NullTranslations()
    else:
        _active = gettext.translation("fishtune", LOCALE_FOLDER, [language])


def language_of_environment() -> str:
    """Return the language that `LC_ALL`, `LC_MESSAGES` or `LANG` ask for, English if none is known."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name)
        if value:
            code = value.replace("-", "_").split("_")[0].split(".")[0].lower()
            return code if code in LANGUAGES else "en"
    return "en"


def _(message: str) -> str:
    """Return `message` in the active language."""
    return _active.gettext(message) if message else ""


def ngettext(one: str, many: str, number: int) -> str:
    """Return the form of a message that goes with `number`, with `{number}` left to fill in."""
    return _active.ngettext(one, many, number)


def mark(message: str) -> str:
    """Return `message` unchanged: it becomes a key of the catalogue and is translated where it is shown."""
    return message


def sentence(text: str, *, of_steps: bool = False) -> str:
    """Return a sentence of the engine in the active language, as it is where the catalogue lacks it.

    The engine's sentences carry names and numbers. Their keys have `{}` in those places, and so have the
    translations, in the same order or numbered: `{1}` of `{0}`.

    Args:
        of_steps: the sentence is known to tell the state of a step, so that keys with few fixed words,
            which other sentences might match by chance, count too.
    """
    if type(_active) is gettext.NullTranslations or not text:
        return text
    found = _active.gettext(text)
    if found != text:
        return found
    for pattern, key, letters in _patterns():
        match = pattern.fullmatch(text) if of_steps or letters >= _SURE else None
        if match is not None:
            return _active.gettext(key).format(
                *(sentence(part, of_steps=of_steps) for part in match.groups())
            )
    return text


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[re.Pattern[str], str, int]]:
    keys = [line for line in ENGINE_KEYS.read_text(encoding="utf-8").splitlines() if "{}" in line]
    keys.sort(key=lambda key: len(key.replace("{}", "")), reverse=True)  # the surest match first
    return [
        (
            re.compile("(.+?)".join(re.escape(part) for part in key.split("{}")), re.DOTALL),
            key,
            sum(map(str.isalpha, key)),
        )
        for key in keys
    ]
