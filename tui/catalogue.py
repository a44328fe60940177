"""One catalogue for every text of the wizard: English is the key, `locale/` holds the others.

    from .catalogue import _
    label = _("Checkpoints")

`make catalogue` collects the keys from the code into the `.po` files and compiles them.
"""

from __future__ import annotations

import gettext
import os
from pathlib import Path

from ..core.messages import Message
from ..core.particles import fill

LANGUAGES = ("en", "ko")
LOCALE_FOLDER = Path(__file__).parent / "locale"
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


def ngettext(one: str, many: str, number: float) -> str:
    """Return the form of a message that goes with `number`, with `{number}` left to fill in."""
    whole = int(number) if float(number).is_integer() else 2
    return _active.ngettext(one, many, whole)


def mark(message: str) -> str:
    """Return `message` unchanged: it becomes a key of the catalogue and is translated where it is shown."""
    return message


def sentence(text: str) -> str:
    """Return a text of the engine in the active language, as it is where the catalogue lacks it.

    A `Message` is made from its template; any other string is a name, a path or a library's own words.
    """
    if not isinstance(text, Message) or type(_active) is gettext.NullTranslations:
        return text
    return text.translated(_active.gettext, fill)
