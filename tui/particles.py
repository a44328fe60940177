"""Korean particles after names and numbers: which one follows depends on how the word before it is spoken.

A translation writes both forms, `{file}이(가)`; the last letter or digit of what fills the place decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..core.messages import PLACE, Value, part

_PAIRS = {"이(가)": "이가", "을(를)": "을를", "은(는)": "은는", "과(와)": "과와", "(으)로": ("으로", "로")}
_BOTH = "|".join(map(re.escape, _PAIRS))
_PLACE = re.compile(rf"(?:{PLACE})(?:(?P<between>[^\w{{%]{{0,2}})(?P<both>{_BOTH}))?")
_LAST = re.compile(r"(\w)[^\w%]*\Z")
_NO_CONSONANT, _L, _OTHER = "", "l", "x"
_ENDINGS = {
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
_GA, _HIH, _FINALS, _RIEUL = ord("가"), ord("힣"), 28, 8


def fill(template: str, values: Mapping[str, Value]) -> str:
    """Return a template of the catalogue with its places filled in and the particle that each one takes.

    Both forms stay where it is not sure how the word before them ends.
    """

    def place(found: re.Match[str]) -> str:
        text = part(found, values)
        if found["both"] is None:
            return text
        particle = _particle(text, found["both"]) if found["name"] else found["both"]
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
    last = _LAST.search(word)
    if last is None or word.lower().endswith("mp3"):  # 엠피쓰리, unlike 삼
        return None
    letter = last[1]
    if _GA <= ord(letter) <= _HIH:
        final = (ord(letter) - _GA) % _FINALS
        return _NO_CONSONANT if final == 0 else _L if final == _RIEUL else _OTHER
    return _ENDINGS.get(letter)
