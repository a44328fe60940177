"""Where what was said leaves the text: the runs of an alignment's errors, measured in letters.

Letters rather than words: a misheard word has about as many letters as the right one, and so adds and removes
next to none, while words that were left out or added do. And a word is a word in any language, a letter more
often so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from .alignment import Alignment, Kind, Step

_SHOWN = 60
"""Characters of words that a message shows."""


class Where(StrEnum):
    """Where in the text."""

    START = "start"
    WITHIN = "within"
    END = "end"
    ALL = "all"


@dataclass(frozen=True)
class Difference:
    """A run of words, or letters, without a right one."""

    expected: tuple[str, ...]
    heard: tuple[str, ...]
    where: Where
    repeats: bool
    """Whether what was heard is what was said right before, or is right after."""
    place: int = -1
    """Number of the first token heard in it; −1 where nothing was."""

    @property
    def letters(self) -> int:
        """Letters that were expected."""
        return sum(map(len, self.expected))

    @property
    def missing(self) -> int:
        """Letters fewer than expected; negative where there are more."""
        return self.letters - sum(map(len, self.heard))

    @property
    def added(self) -> int:
        """Letters more than expected."""
        return -self.missing

    @property
    def expected_text(self) -> str:
        """The words that were expected, shortened for a message."""
        return _shown(self.expected)

    @property
    def heard_text(self) -> str:
        """The words that were heard instead."""
        return _shown(self.heard)

    @property
    def wrong(self) -> int:
        """How many of the letters expected are other ones or missing; what was only added does not count."""
        return min(_edits("".join(self.expected), "".join(self.heard)), self.letters)

    @property
    def joined(self) -> str:
        """What was heard, letters only."""
        return "".join(self.heard)


def differences(alignment: Alignment) -> list[Difference]:
    """Return the runs of errors, in order."""
    steps = alignment.steps
    found: list[Difference] = []
    begin = 0
    for is_same, run in groupby(steps, lambda step: step.kind is Kind.SAME):
        end = begin + len(list(run))
        if not is_same:
            heard = tuple(step.heard for step in steps[begin:end] if step.heard)
            places = (step.place for step in steps[begin:end] if step.heard)
            found.append(
                Difference(
                    expected=tuple(step.expected for step in steps[begin:end] if step.expected),
                    heard=heard,
                    where=_where(begin, end, len(steps)),
                    repeats=_repeats(heard, steps[:begin], steps[end:]),
                    place=next(places, -1),
                )
            )
        begin = end
    return found


def letters_expected(steps: Iterable[Step]) -> int:
    """Return how many letters and digits were to be said."""
    return sum(len(step.expected) for step in steps)


def letters_heard(steps: Iterable[Step]) -> int:
    """Return how many letters and digits were heard."""
    return sum(len(step.heard) for step in steps)


def letters_of_text(alignment: Alignment | None) -> str:
    """Return the text that was to be said, letters and digits only; "" where it is not known."""
    return "".join(step.expected for step in alignment.steps) if alignment else ""


def _where(begin: int, end: int, count: int) -> Where:
    match begin == 0, end == count:
        case True, True:
            return Where.ALL
        case True, False:
            return Where.START
        case False, True:
            return Where.END
    return Where.WITHIN


def _repeats(heard: Sequence[str], before: Sequence[Step], after: Sequence[Step]) -> bool:
    """Return whether all that was heard is the end of what is before it, or the beginning of what follows."""
    said, next_said = ([step.heard for step in steps if step.heard] for steps in (before, after))
    count = len(heard)
    return bool(heard) and (list(heard) == said[-count:] or list(heard) == next_said[:count])


def _edits(one: str, other: str) -> int:
    """Return the edit distance of two texts (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, mark in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != mark))
    return row[-1]


def _shown(words: Sequence[str]) -> str:
    is_letters = all(len(word) == 1 for word in words) and len(words) > 3
    text = ("" if is_letters else " ").join(words)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
