"""One catalogue for every text of the wizard: English is the key, `locale/` holds the others.

    from .catalogue import _
    label = _("Checkpoints")

`make catalogue` collects the keys from the code into the `.po` files and compiles them.
"""

from __future__ import annotations

import gettext
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sentences import Sentences

LANGUAGES = ("en", "ko")
LOCALE_FOLDER = Path(__file__).parent / "locale"
ENGINE_KEYS = LOCALE_FOLDER / "engine.txt"
"""The engine's sentences that have names or numbers filled in, one a line, `{}` in those places."""
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


def sentence(text: str) -> str:
    """Return a sentence of the engine in the active language, as it is where the catalogue lacks it.

    For messages, hints, findings and states, which the engine says in English with names and numbers
    filled in; never for transcripts, log lines and paths.
    """
    if type(_active) is gettext.NullTranslations or not text:
        return text
    return _sentences(_active).say(text)


@lru_cache(maxsize=1)
def _sentences(active: gettext.NullTranslations) -> Sentences:
    from .sentences import PLACE, Sentences

    lines = ENGINE_KEYS.read_text(encoding="utf-8").splitlines()
    return Sentences((line for line in lines if PLACE in line), active.gettext)
