"""The engine's sentences in the active language. Loaded only where that is not English.

The engine says what happened in English, with names and numbers filled in. Here such a sentence is found
again among the templates that the catalogue has, `{}` in those places, and said in the other language with
the same names and numbers. What the catalogue lacks stays as it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .particles import fill

PLACE = "{}"
_SURE = 10
"""Letters from which a template is taken for any sentence that it matches."""
_FEW_WORDS = r"(\S+(?: \S+){0,2}?)"
_ONE_WORD = r"(\S+?)"
_SOME = 4
_ENDS = re.compile(r"(?:(?<=[.!?])|(?<=\.\))) (?=\S)")
_TAIL = re.compile(r"(.*[^\d.])( \(?[\d/.,]+\)?|\.)")
"""A phrase that is counted or ends a sentence: `no codes (3)`, `endless 2/3`, `Permission denied.`"""
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_CHOICE = re.compile(r"('[^']*', )*'[^']*' or '[^']*'")
_MOST_KEPT = 512
_LONGEST = 2000
"""Characters; looking for templates in a library's endless message would hold up the screen."""


@dataclass(frozen=True)
class _Template:
    key: str
    letters: int

    @lru_cache(maxsize=_MOST_KEPT)  # noqa: B019 - templates live as long as the program
    def pattern(self, inside: bool) -> re.Pattern[str]:
        """Return what matches this template; stricter for what stands inside of another sentence."""
        if self.letters < _SOME:
            place = _ONE_WORD
        else:
            place = _FEW_WORDS if inside and self.letters < _SURE else "(.+?)"
        return re.compile(place.join(map(re.escape, self.key.split(PLACE))), re.DOTALL)


class Sentences:
    """Finds a sentence's template through its rarest word, thousands of sentences in a fraction of a second.

    Args:
        templates: the English sentences that have places to fill in.
        translate: gives the other language's text for a template or a whole sentence, or the same again.
    """

    def __init__(self, templates: Iterable[str], translate: Callable[[str], str]) -> None:
        self._translate = translate
        words = {key: _whole_words(key) for key in templates}
        common = Counter(word for found in words.values() for word in found)
        self._by_word: dict[str, list[_Template]] = {}
        for key, found in words.items():
            if found:
                rarest = min(found, key=lambda word: (common[word], -len(word)))
                template = _Template(key, sum(map(str.isalpha, key)))
                self._by_word.setdefault(rarest, []).append(template)
        self.say = lru_cache(maxsize=_MOST_KEPT)(self._say)

    def _say(self, text: str, inside: bool = False) -> str:
        """Return `text` in the other language.

        Args:
            inside: it is a part of a sentence, perhaps a name or somebody else's text, so that only what is
                surely the engine's is translated, and no single word.
        """
        if len(text) > _LONGEST:
            return text
        return self._known(text, inside) or self._pieces(text, inside) or text

    def _known(self, text: str, inside: bool) -> str:
        if inside and " " not in text:
            return ""
        found = self._translate(text)
        if found != text:
            return found
        for parts, separator in ((_ENDS.split(text), " "), (text.split("; ") if inside else [], "; ")):
            if len(parts) > 1:
                said = [self._matched(part, inside) for part in parts]
                if all(said):
                    return separator.join(said)
        return self._matched(text, inside)

    def _matched(self, text: str, inside: bool) -> str:
        found = self._translate(text)
        if found != text:
            return found
        candidates = {template for word in text.split(" ") for template in self._by_word.get(word, ())}
        readings: list[str] = []
        for template in sorted(candidates, key=lambda template: -template.letters):
            if readings and template.letters < _SURE:
                break
            match = template.pattern(inside).fullmatch(text)
            if match is not None:
                parts = [self.say(part, True) for part in match.groups()]
                readings.append(fill(self._translate(template.key), parts))
        # A sentence within a sentence fits both templates; the one that leaves less English is right.
        return min(readings, key=_english_letters, default="")

    def _pieces(self, text: str, inside: bool) -> str:
        """Say several sentences, or a list, of which some are known."""
        sentences = _ENDS.split(text)
        if len(sentences) > 1:
            return " ".join(self._runs(sentences, inside))
        if _CHOICE.fullmatch(text):
            return text.replace("' or '", "', '")
        for separator, needed in (("; ", any), (", ", all), (" and ", all), (": ", any)):
            parts = text.split(separator)
            said = [self._known(part, inside) or self._counted(part, inside) for part in parts]
            if len(parts) > 1 and needed(said):
                return (", " if separator == " and " else separator).join(
                    new or old for new, old in zip(said, parts, strict=True)
                )
        return self._counted(text, inside)

    def _counted(self, text: str, inside: bool) -> str:
        errno = _ERRNO.match(text)
        if errno is not None:
            return errno[0] + self.say(text[errno.end() :], inside)
        tail = _TAIL.fullmatch(text)
        said = self._known(tail[1], inside) if tail else ""
        return said + tail[2] if tail and said else ""

    def _runs(self, sentences: Sequence[str], inside: bool) -> Iterable[str]:
        begin = 0
        while begin < len(sentences):
            for end in range(len(sentences), begin, -1):
                said = self._matched(" ".join(sentences[begin:end]), inside)
                if said or end == begin + 1:
                    yield said or sentences[begin]
                    begin = end
                    break


def _english_letters(text: str) -> int:
    return sum(character.isascii() and character.isalpha() for character in text)


def _whole_words(key: str) -> list[str]:
    """Return the words of a template that stand in a sentence exactly so, touching no place."""
    return [word for word in key.split(" ") if word and PLACE not in word]
