"""What was said against what was to be said: which words are missing, added or other ones, and where.

Our own rather than a library's: the readings of a number are chosen by what fits, compounds may be written
apart, and of alignments with equally few errors the one whose errors lie together is wanted. A leaked
sentence is then one run of added words, not words scattered among chance matches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import TypeVar

from .words import Token

_OPENING = 1e-3
"""Cost of beginning a run of errors: decides between alignments with equally many."""
_MOST_CHOSEN = 40_000
"""Pairs of tokens up to which readings are chosen, each by an alignment: 200 words on either side."""

T = TypeVar("T")
_Cells = list[list[list[T]]]
"""One value for a match and one for an error, for every pair of beginnings."""


class Kind(StrEnum):
    """What became of a word."""

    SAME = "same"
    DELETED = "deleted"
    INSERTED = "inserted"
    SUBSTITUTED = "substituted"


@dataclass(frozen=True, slots=True)
class Step:
    """One word (or letter) of an alignment."""

    kind: Kind
    expected: str = ""
    """"" where it was added."""
    heard: str = ""
    """"" where it is missing."""
    place: int = -1
    """Number of the token heard; −1 where nothing was."""


@dataclass(frozen=True)
class Alignment:
    """What was expected and what was heard, side by side."""

    steps: tuple[Step, ...]

    def count(self, kind: Kind) -> int:
        """Return how many words are of a kind."""
        return sum(step.kind is kind for step in self.steps)

    @property
    def expected(self) -> int:
        """Words that were to be said."""
        return sum(step.kind is not Kind.INSERTED for step in self.steps)

    @property
    def error_rate(self) -> float:
        """Errors per word that was to be said (WER, or CER where letters are compared); may exceed 1."""
        errors = len(self.steps) - self.count(Kind.SAME)
        return errors / self.expected if self.expected else float(errors > 0)


def align(expected: Sequence[Token], heard: Sequence[Token]) -> Alignment:
    """Return the alignment with the fewest errors over the readings of both sides."""
    chosen = _choose_readings(expected, heard)
    left = [
        atom for token, reading in zip(expected, chosen[0], strict=True) for atom in token.readings[reading]
    ]
    right: list[str] = []
    places: list[int] = []
    for place, (token, reading) in enumerate(zip(heard, chosen[1], strict=True)):
        right += token.readings[reading]
        places += [place] * len(token.readings[reading])
    return Alignment(tuple(_joined(_steps(left, right, places))))


def _choose_readings(expected: Sequence[Token], heard: Sequence[Token]) -> tuple[list[int], list[int]]:
    """Return the number of the reading of every token, each chosen in turn while the others stay."""
    sides = (expected, heard)
    chosen = ([0] * len(expected), [0] * len(heard))
    if len(expected) * len(heard) > _MOST_CHOSEN:
        return chosen

    def cost() -> float:
        left, right = (
            [atom for token, number in zip(side, numbers, strict=True) for atom in token.readings[number]]
            for side, numbers in zip(sides, chosen, strict=True)
        )
        return min(_table(left, right)[0][-1][-1])

    best = math.inf
    for side, numbers in zip(sides, chosen, strict=True):
        for place, token in enumerate(side):
            for number in range(len(token.readings) if len(token.readings) > 1 else 0):
                before, numbers[place] = numbers[place], number
                if (now := cost()) < best:
                    best = now
                else:
                    numbers[place] = before
    return chosen


def _table(left: Sequence[str], right: Sequence[str]) -> tuple[_Cells[float], _Cells[int]]:
    """Return costs `(left + 1, right + 1, 2)` of ending in a match or in an error, and the way back.

    Gotoh's affine gaps, where a run of errors of any kinds counts as one gap. The way back is 0 for a match,
    1 substituted, 2 deleted, 3 inserted, plus 4 where the step before was an error.
    """
    rows, columns = len(left) + 1, len(right) + 1
    costs: _Cells[float] = [[[math.inf, math.inf] for _ in range(columns)] for _ in range(rows)]
    ways: _Cells[int] = [[[0, 0] for _ in range(columns)] for _ in range(rows)]
    costs[0][0][0] = 0.0
    for i in range(rows):
        for j in range(columns):
            if i and j and left[i - 1] == right[j - 1]:
                matched, failed = costs[i - 1][j - 1]
                costs[i][j][0] = min(matched, failed)
                ways[i][j][0] = 4 if failed < matched else 0
            for way, (row, column) in ((1, (i - 1, j - 1)), (2, (i - 1, j)), (3, (i, j - 1))):
                if row < 0 or column < 0:
                    continue
                matched, failed = costs[row][column]
                cost = 1 + min(matched + _OPENING, failed)
                if cost < costs[i][j][1]:
                    costs[i][j][1] = cost
                    ways[i][j][1] = way + 4 * (failed <= matched + _OPENING)
    return costs, ways


def _steps(left: Sequence[str], right: Sequence[str], places: Sequence[int]) -> list[Step]:
    costs, ways = _table(left, right)
    i, j = len(left), len(right)
    failed = int(costs[i][j][1] < costs[i][j][0])
    steps: list[Step] = []
    while i or j:
        before, way = divmod(ways[i][j][failed], 4)
        match way if failed else 0:
            case 0:
                steps.append(Step(Kind.SAME, left[i - 1], right[j - 1], places[j - 1]))
                i, j = i - 1, j - 1
            case 1:
                steps.append(Step(Kind.SUBSTITUTED, left[i - 1], right[j - 1], places[j - 1]))
                i, j = i - 1, j - 1
            case 2:
                steps.append(Step(Kind.DELETED, left[i - 1]))
                i -= 1
            case _:
                steps.append(Step(Kind.INSERTED, "", right[j - 1], places[j - 1]))
                j -= 1
        failed = before
    return steps[::-1]


def _joined(steps: list[Step]) -> list[Step]:
    """Return the steps with words that are only written apart, or together, taken for the same."""
    joined: list[Step] = []
    for is_same, run in groupby(steps, lambda step: step.kind is Kind.SAME):
        together = list(run)
        expected = "".join(step.expected for step in together)
        if not is_same and expected == "".join(step.heard for step in together):
            place = max(step.place for step in together)
            joined.append(Step(Kind.SAME, expected, expected, place))
        else:
            joined += together
    return joined
