"""Which language texts are in, as far as their letters and commonest words tell."""

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
_COMMON_WORDS = {
    "de": "der die das und ist nicht ich ein eine den mit auf sie es wir",
    "en": "the and of to is was that it you for with this have not",
    "es": "el los las que y una por con para es del no lo se su",
    "fr": "le les des et est une que dans pour pas vous il je qui",
}
_TELLING = 0.08
"""Share of words that are among a language's commonest: about .2 in its own texts, .02 in another's."""
_CLEARLY = 2.0
"""Factor by which the commonest words of a language must be more frequent than those of the next."""


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


def likely_language(texts: Iterable[str]) -> str | None:
    """Return the language of texts by their script, and in Latin by their commonest words; None if unsure."""
    texts = list(texts)
    known = language_of(texts)
    words = [word.strip(".,;:!?\"'()…") for text in texts for word in text.lower().split()]
    if known is not None or not words:
        return known
    found = {
        name: sum(word in common.split() for word in words) / len(words)
        for name, common in _COMMON_WORDS.items()
    }
    (name, most), (_, next_most) = Counter(found).most_common(2)
    return name if most >= max(_TELLING, _CLEARLY * next_most) else None
