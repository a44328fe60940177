"""Korean particles after names and numbers: which one follows depends on how the word before it is spoken.

A translation writes both forms, `{file}이(가)` or `{size} km을(를)`. What stands before them decides by its
end: a letter, a digit, an ending of file names, a unit. Quotes and brackets are passed over.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from .messages import PLACE, Value, part

_PAIRS = {"이(가)": "이가", "을(를)": "을를", "은(는)": "은는", "과(와)": "과와", "(으)로": ("으로", "로")}
_BOTH = "|".join(map(re.escape, _PAIRS))
_PLACE = re.compile(rf"(?:{PLACE})(?:(?P<between>[^{{]{{0,10}}?)(?P<both>{_BOTH}))?")
_LAST = re.compile(r"([^\W_]|%)(?:[^\w%]|_)*\Z")
_LAST_WORD = re.compile(r"(?P<number>\d\s?)?(?P<word>[A-Za-z]+\d*)(?:[^\w%]|_)*\Z")
_NO_CONSONANT, _L, _OTHER = "", "l", "x"
_ENDINGS = {
    "%": _NO_CONSONANT,  # 퍼센트
    **dict.fromkeys("2459", _NO_CONSONANT),
    **dict.fromkeys("178", _L),
    **dict.fromkeys("036", _OTHER),
    **dict.fromkeys("adfhiosuvwxyz", _NO_CONSONANT),
    "l": _L,
    **dict.fromkeys("mn", _OTHER),
    **dict.fromkeys("ABCDEFGHIJKOPQSTUVWXYZ", _NO_CONSONANT),
    **dict.fromkeys("LR", _L),
    **dict.fromkeys("MN", _OTHER),
}
"""What digits, last small letters and spelled capitals end in; how the others sound depends on the word."""
_WORDS = {
    "mp3": _NO_CONSONANT,  # 엠피쓰리, unlike 삼
    **dict.fromkeys(("ckpt", "csv", "ogg", "pt", "srt", "txt", "vtt"), _NO_CONSONANT),  # spelled
    **dict.fromkeys(("flac", "lab", "zip", "fishtune"), _OTHER),  # 플랙, 랩, 집, 피시튠
}
"""Endings of file names and names that their last letter does not tell."""
_UNITS = {
    **dict.fromkeys(("m", "km", "cm", "mm", "s", "ms", "MB", "GB", "TB"), _NO_CONSONANT),  # 미터, 초, 바이트
    **dict.fromkeys(("h", "min"), _OTHER),  # 시간, 분
    "dB": _L,  # 데시벨
}
"""What units end in behind a number."""
_GA, _HIH, _FINALS, _RIEUL = ord("가"), ord("힣"), 28, 8
_LOOKED_AT = 80
"""Characters at the end of a word."""


def fill(template: str, values: Mapping[str, Value]) -> str:
    """Return a template of the catalogue with its places filled in and the particle that each one takes.

    Both forms stay where it is not sure how the word before them ends.
    """

    def place(found: re.Match[str]) -> str:
        text = part(found, values)
        if found["both"] is None:
            return text
        particle = _particle(text + found["between"], found["both"]) if found["name"] else found["both"]
        return text + found["between"] + particle

    return _PLACE.sub(place, template) if values else template


def _particle(word: str, both: str) -> str:
    ending = _ending(word)
    if ending is None:
        return both
    after_consonant, after_vowel = _PAIRS[both]
    if both == "(으)로" and ending == _L:
        return after_vowel
    return after_vowel if ending == _NO_CONSONANT else after_consonant


def _ending(word: str) -> str | None:
    """Return which consonant a word ends in when it is spoken, None if that is not known."""
    word = unicodedata.normalize("NFC", word[-_LOOKED_AT:])  # file names of macOS come in pieces
    name = _LAST_WORD.search(word)
    if name is not None and name["number"] and name["word"] in _UNITS:
        return _UNITS[name["word"]]
    if name is not None and name["word"].lower() in _WORDS:
        return _WORDS[name["word"].lower()]
    last = _LAST.search(word)
    if last is None:
        return None
    letter = last[1]
    if _GA <= ord(letter) <= _HIH:
        final = (ord(letter) - _GA) % _FINALS
        return _NO_CONSONANT if final == 0 else _L if final == _RIEUL else _OTHER
    return _ENDINGS.get(letter)
