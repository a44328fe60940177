"""The text of a whole recording, shared out among its clips by what was heard in each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from ...judge.recognition import Heard
from ...judge.words import LETTER_LANGUAGES, Token, tokens_of

_LEAST_AGREEMENT = 0.5
"""Share of the words that must have been heard for a part of the text to be a clip's."""
_WORD, _LETTER = re.compile(r"\S+"), re.compile(r"\w[^\w\s]*|[^\w\s]+")
_SENTENCE_END = re.compile(r"[.!?。！？…][\"'”’»」』)]*$")


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a text that a clip says."""

    text: str
    agreement: float
    """Share of its words, and of those heard, that are the same."""

    @property
    def is_sure(self) -> bool:
        """Whether what was heard leaves no doubt that this is the part."""
        return bool(self.text) and self.agreement >= _LEAST_AGREEMENT


def share_out(text: str, heard: Sequence[Heard], language: str) -> list[Share]:
    """Return for each clip the part of the text that it says, in the text's own spelling.

    Words of the text that were not heard go to the clip around them; between two clips, up to the end of a
    sentence to the former, else all of them. Words before the first that was heard are left out, and so are
    those behind the last.

    Args:
        heard: what was heard in each clip, in order.
        language: two letters.
    """
    words = list((_LETTER if language in LETTER_LANGUAGES else _WORD).finditer(text))
    expected = [
        (_key(token), number) for number, word in enumerate(words) for token in tokens_of(word[0], language)
    ]
    said = [
        (_key(token), clip) for clip, each in enumerate(heard) for token in tokens_of(each.text, language)
    ]
    owners: list[int | None] = [None] * len(words)
    same = [0] * len(heard)
    matcher = SequenceMatcher(None, [key for key, _ in said], [key for key, _ in expected], autojunk=False)
    for kind, said_from, said_to, from_, to in matcher.get_opcodes():
        for place in range(from_, to if said_to > said_from else from_):
            # What was misheard lies where its neighbours lie, in proportion.
            clip = said[said_from + (place - from_) * (said_to - said_from) // (to - from_)][1]
            owners[expected[place][1]] = clip
            same[clip] += kind == "equal"
    _fill(owners, [word[0] for word in words])
    heard_tokens, expected_tokens = [0] * len(heard), [0] * len(heard)
    for _, clip in said:
        heard_tokens[clip] += 1
    for _, number in expected:
        if (owner := owners[number]) is not None:
            expected_tokens[owner] += 1
    return [
        Share(part, same[clip] / max(heard_tokens[clip], expected_tokens[clip], 1))
        for clip, part in enumerate(_parts(text, words, owners, len(heard)))
    ]


def _key(token: Token) -> str:
    return " ".join(token.readings[0])


def _fill(owners: list[int | None], words: list[str]) -> None:
    """Give words that were not heard to a clip beside them."""
    known = [number for number, owner in enumerate(owners) if owner is not None]
    for before, behind in pairwise(known):
        gap = range(before + 1, behind)
        last = owners[before]
        ends = [number for number in (before, *gap) if _SENTENCE_END.search(words[number])]
        turn = ends[-1] if ends else behind
        for number in gap:
            owners[number] = last if last == owners[behind] or number <= turn else owners[behind]


def _parts(text: str, words: list[re.Match[str]], owners: list[int | None], count: int) -> Iterator[str]:
    for clip in range(count):
        own = [word for word, owner in zip(words, owners, strict=True) if owner == clip]
        yield " ".join(text[own[0].start() : own[-1].end()].split()) if own else ""
