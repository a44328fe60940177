"""Which language a text is in, as far as its script tells."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

_OF_SCRIPT = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "THAI": "th",
    "GREEK": "el",
    "HEBREW": "he",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
}
_KANA = 0.1
"""Share of kana from which Chinese characters are Japanese."""
_OWN = 0.2
"""Share of letters whose script tells the language; names and terms in Latin may be long beside them."""


def language_of(texts: Iterable[str | None]) -> str | None:
    """Return the language of texts whose script only one has; None for Latin, which hundreds are written
    in."""
    letters = [letter for text in texts for letter in text or "" if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in letters)
    if not scripts:
        return None
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > _KANA * len(letters):
        return "ja"
    known = Counter({script: count for script, count in scripts.items() if script in _OF_SCRIPT})
    script, count = next(iter(known.most_common(1)), ("", 0))
    return _OF_SCRIPT[script] if count > _OWN * len(letters) else None
