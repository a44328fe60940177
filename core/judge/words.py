"""A text as what can be compared with another: words, or letters where words are not set apart.

"15th", "fifteenth" and "Fifteenth," are one thing to who listens. So a text becomes `Token`s, and a token
that may be said in several ways (a number, an abbreviation) has several `readings`; the alignment takes the
one that fits the other text. Languages without spaces between words, and Korean, whose spaces are as often
left out as not, are compared letter by letter: their error rate is a CER.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from ..text.cleaning import strip_markup
from .numbers import amount_readings, number_readings, percent_readings

Reading = tuple[str, ...]
"""What is compared, in order: words, or single letters."""

LETTER_LANGUAGES = frozenset({"zh", "yue", "ja", "ko", "th", "lo", "km", "my", "bo"})
"""Compared letter by letter."""
# Said as written, or in full. What is no abbreviation elsewhere in a sentence ("no.", "in.") is not here.
_IN_FULL: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "dr": ("doctor", "drive"),
        "mr": ("mister",),
        "mrs": ("missus", "missis", "misses"),
        "ms": ("miss", "miz"),
        "st": ("saint", "street"),
        "prof": ("professor",),
        "vs": ("versus",),
        "etc": ("et cetera", "etcetera"),
        "ok": ("okay",),
        "&": ("and",),
        "+": ("plus",),
    },
    "de": {
        "dr": ("doktor",),
        "hr": ("herr",),
        "fr": ("frau",),
        "prof": ("professor",),
        "nr": ("nummer",),
        "usw": ("und so weiter",),
        "bzw": ("beziehungsweise",),
        "ca": ("circa", "zirka"),
        "&": ("und",),
    },
    "fr": {
        "m": ("monsieur",),
        "mme": ("madame",),
        "mlle": ("mademoiselle",),
        "dr": ("docteur",),
        "st": ("saint",),
        "ste": ("sainte",),
        "etc": ("et cetera",),
        "&": ("et",),
    },
    "es": {
        "sr": ("senor",),
        "sra": ("senora",),
        "srta": ("senorita",),
        "dr": ("doctor",),
        "dra": ("doctora",),
        "ud": ("usted",),
        "etc": ("etcetera",),
        "&": ("y",),
    },
}
_NUMBER = re.compile(
    r"(?P<currency>[$€£¥₩])?\s?(?P<digits>\d+(?:[.,]\d+)*)"
    r"(?P<suffix>(?:st|nd|rd|th|er|re|eme|e|\.?[oa]|s)\b)?(?:\s?(?P<after>[$€£¥₩%]))?"
)
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:[ ']\d{3})+)(?![\d.,]\d)")
_APART = frozenset("&+")


@dataclass(frozen=True, slots=True)
class Token:
    """A word, letter or number of a text."""

    readings: tuple[Reading, ...]
    """How it may be said, likeliest first; at least one."""
    start: int
    """Where it begins in the text's normal form."""


def normal_form(text: str) -> str:
    """Return a text in the form that tokens are cut from: full width, case, accents and kana made equal."""
    folded = unicodedata.normalize("NFKC", strip_markup(text)).casefold().replace("’", "'")
    return "".join(map(_plain, unicodedata.normalize("NFC", folded)))


def tokens_of(text: str, language: str) -> list[Token]:
    """Return the tokens of a text.

    Args:
        text: in any form; `normal_form` is applied.
        language: two letters, as recognition names it.
    """
    text = normal_form(text)
    if language in ("fr", "es", "de"):
        text = _SPACED_THOUSANDS.sub(lambda match: match[0].replace(" ", "").replace("'", ""), text)
    return list(_tokens(text, language))


def _plain(letter: str) -> str:
    """Return a Latin letter without its accent, katakana as hiragana, others as they are."""
    if "\u30a1" <= letter <= "\u30f6":
        return chr(ord(letter) - 0x60)
    if letter < "\u00c0" or letter > "\u024f":
        return letter
    return "".join(part for part in unicodedata.normalize("NFD", letter) if not unicodedata.combining(part))


def _tokens(text: str, language: str) -> Iterator[Token]:
    by_letter = language in LETTER_LANGUAGES
    place = 0
    while place < len(text):
        number = _NUMBER.match(text, place)
        if number is not None and number["digits"]:
            yield Token(_readings_of(number, language, by_letter), place)
            place = number.end()
        elif text[place].isalnum() or text[place] in _APART:
            end = place + 1
            while not by_letter and end < len(text) and text[place] not in _APART and _continues(text, end):
                end += 1
            yield Token(_word_readings(text[place:end].replace("'", ""), language), place)
            place = end
        else:
            place += 1


def _continues(text: str, at: int) -> bool:
    if text[at] == "'":
        return at + 1 < len(text) and text[at + 1].isalpha()
    return text[at].isalpha() or unicodedata.combining(text[at]) > 0


def _word_readings(word: str, language: str) -> tuple[Reading, ...]:
    in_full = _IN_FULL.get(language, {}).get(word, ())
    return ((word,), *(tuple(spelt.split()) for spelt in in_full))


def _readings_of(number: re.Match[str], language: str, by_letter: bool) -> tuple[Reading, ...]:
    said = number_readings(number["digits"], (number["suffix"] or "").lstrip("."), language)
    for sign in (number["currency"], number["after"]):
        if sign == "%":
            said = [reading for each in said for reading in percent_readings(each, language)]
        elif sign:
            said = amount_readings(said, number["digits"], sign, language)
    return tuple(dict.fromkeys(_split(each, by_letter) for each in said))


def _split(said: str, by_letter: bool) -> Reading:
    """Return what a number's name is compared as."""
    plain = normal_form(said)
    if by_letter:
        return tuple(letter for letter in plain if letter.isalnum())
    return tuple(re.findall(r"\w+", plain.replace("'", "")))
