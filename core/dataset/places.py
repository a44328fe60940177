"""Where a clip can be cut between two of its words: in the pause there, as far as one is near.

Words that were heard say where they stand; between them, and in a clip that nothing heard, letters are
shared out evenly over the time in which somebody speaks, and pauses are given to the words that they fit
best. `report/proofreading/places.js` does the same in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .proofreading import Piece

_REACH = 0.3
"""Seconds of speech by which recognition may be wrong about where a word ends."""
_SKIPPED, _SKIPPED_PER_SECOND, _LONG_PAUSE = 0.1, 3.0, 0.6
"""Costs of a pause between no two words, in seconds of speech by which another may be displaced; from the
last one on, seconds, a pause weighs no more."""
_STOPPED = 0.35
"""What a pause behind a comma or a full stop is worth, likewise."""
_STOPS = tuple(".,;:!?…—。，、；：！？")
_EDGE = 0.01
"""Seconds that are left of a part."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word as it was heard, seconds from the beginning of its clip."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sounding:
    """What is known of how a clip sounds, seconds from its beginning."""

    seconds: float
    words: tuple[Spoken, ...] = ()
    """As recognition heard them, whatever the transcript has; nothing where nothing heard them."""
    pauses: tuple[tuple[float, float], ...] = ()
    """Silent stretches, each its beginning and its end, in order."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A place between two words."""

    at: float
    """Where to cut, seconds."""
    pause: float
    """How long the silence there is; 0 = there is none near."""
    is_estimated: bool
    """Whether neither of the two words was heard, so that the place follows from the others, or from
    letters alone."""


@dataclass(frozen=True, slots=True)
class WordGaps:
    """All places between the words of a clip."""

    gaps: tuple[Gap, ...]
    can_listen: bool
    """Whether recognition is at hand to hear what is estimated now."""


def sounding_of(pieces: Sequence[Piece], made: Mapping[str, Sounding]) -> Sounding:
    """Return how pieces of clips sound one after another.

    Args:
        made: what is known of the clips that they are of.
    """
    words: list[Spoken] = []
    pauses: list[tuple[float, float]] = []
    begin = 0.0
    for piece in pieces:
        whole = made[piece.clip]
        by = begin - piece.start
        for word in whole.words:
            if piece.start <= (word.start + word.end) / 2 < piece.end:
                start, end = max(word.start, piece.start), min(word.end, piece.end)
                words.append(Spoken(word.text, _rounded(start + by), _rounded(end + by)))
        for first, last in whole.pauses:
            start, end = max(first, piece.start), min(last, piece.end)
            if start >= end:
                continue
            start, end = _rounded(start + by), _rounded(end + by)
            if pauses and pauses[-1][1] >= start:  # one piece ends in silence, and the next begins so
                start = pauses.pop()[0]
            pauses.append((start, end))
        begin += piece.end - piece.start
    return Sounding(begin, tuple(words), tuple(pauses))


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


def gaps_of(text: str, sounding: Sounding) -> list[Gap]:
    """Return the places between the words of a transcript, in order: one less than there are words."""
    words = text.split()
    if len(words) < 2:
        return []
    # Of the boundary before each word and behind the last: when the word before ends, and the next begins.
    ends: list[float | None] = [None] * (len(words) + 1)
    begins: list[float | None] = [None] * (len(words) + 1)
    for place, heard in _matched(words, sounding.words):
        begins[place], ends[place + 1] = heard.start, heard.end
    is_heard = [begin is not None for begin in begins[:-1]]
    times = _times(words, ends, begins, sounding)
    estimated = [not (is_heard[place - 1] or is_heard[place]) for place in range(1, len(words))]
    chosen = _pauses_at(words, times, estimated, sounding)
    for place, (start, end) in chosen.items():
        ends[place], begins[place] = start, end
    times = _times(words, ends, begins, sounding)
    gaps: list[Gap] = []
    # Recognition may hear words in times that overlap: what has a pause stays, the rest keeps its order.
    most = max(sounding.seconds - _EDGE, _EDGE)
    for place in range(len(times), 0, -1):
        start, end = chosen.get(place, (0.0, 0.0))
        behind = [times[before - 1] for before in chosen if before < place]
        most = min(most, max(times[place - 1], _EDGE, *behind))
        gaps.insert(0, Gap(round(most, 3), round(end - start, 2), estimated[place - 1]))
    return gaps


def _matched(words: Sequence[str], heard: Sequence[Spoken]) -> list[tuple[int, Spoken]]:
    """Return the words that were heard, each with its number: the longest common subsequence."""
    left, right = [_plain(word) for word in words], [_plain(each.text) for each in heard]
    longest = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, -1, -1):
        for j in range(len(right) - 1, -1, -1):
            is_same = left[i] != "" and left[i] == right[j]
            longest[i][j] = (
                longest[i + 1][j + 1] + 1 if is_same else max(longest[i + 1][j], longest[i][j + 1])
            )
    found = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] != "" and left[i] == right[j]:
            found.append((i, heard[j]))
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def _plain(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())


def _times(
    words: Sequence[str],
    ends: Sequence[float | None],
    begins: Sequence[float | None],
    sounding: Sounding,
) -> list[float]:
    """Return when each word but the first begins, where nothing says so by letters from what is known."""
    letters = [len(_plain(word)) + 1 for word in words]
    known = [place for place in range(1, len(words)) if ends[place] is not None or begins[place] is not None]
    times = []
    for place in range(1, len(words)):
        end, begin = ends[place], begins[place]
        if end is not None and begin is not None:
            times.append((end + begin) / 2)
        elif end is not None or begin is not None:
            times.append(end if end is not None else begin or 0.0)
        else:
            before = max((each for each in known if each < place), default=0)
            behind = min((each for each in known if each > place), default=len(words))
            first, last = (
                _first(begins[before], ends[before], 0.0),
                _first(ends[behind], begins[behind], sounding.seconds),
            )
            share = sum(letters[before:place]) / sum(letters[before:behind])
            spoken = _spoken_until(first, sounding.pauses), _spoken_until(last, sounding.pauses)
            times.append(_time_of(spoken[0] + share * (spoken[1] - spoken[0]), sounding.pauses))
    return times


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def _spoken_until(time: float, pauses: Sequence[tuple[float, float]]) -> float:
    """Return how long somebody speaks up to a moment."""
    return time - sum(max(0.0, min(end, time) - start) for start, end in pauses if start < time)


def _time_of(spoken: float, pauses: Sequence[tuple[float, float]]) -> float:
    """Return the moment until which somebody speaks so long."""
    time = spoken
    for start, end in pauses:
        if start >= time:
            break
        time += end - start
    return time


def _pauses_at(
    words: Sequence[str], times: Sequence[float], estimated: Sequence[bool], sounding: Sounding
) -> dict[int, tuple[float, float]]:
    """Return the pause at each boundary that has one: the assignment, in order, of least displacement.

    Displacement is counted in seconds of speech, of which a pause takes none. A pause may be at no boundary
    (the closure of a plosive is one), the less so the longer it is.
    """
    inside = [pause for pause in sounding.pauses if pause[0] > 0 and pause[1] < sounding.seconds - _EDGE]
    moments = [_spoken_until(start, sounding.pauses) for start, _ in inside]
    guesses = [_spoken_until(time, sounding.pauses) for time in times]
    skipped = [_SKIPPED + _SKIPPED_PER_SECOND * min(end - start, _LONG_PAUSE) for start, end in inside]

    def cost(gap: int, pause: int) -> float:
        apart = abs(guesses[gap] - moments[pause])
        if not estimated[gap] and apart > _REACH:
            return math.inf
        return apart - (_STOPPED if words[gap].endswith(_STOPS) else 0.0)

    best = [[0.0] * (len(inside) + 1) for _ in range(len(times) + 1)]
    for gap in range(len(times), -1, -1):
        for pause in range(len(inside) - 1, -1, -1):
            choices = [skipped[pause] + best[gap][pause + 1]]
            if gap < len(times):
                choices += [best[gap + 1][pause], cost(gap, pause) + best[gap + 1][pause + 1]]
            best[gap][pause] = min(choices)
    chosen = {}
    gap = pause = 0
    while gap < len(times) and pause < len(inside):
        now = best[gap][pause]
        if now == cost(gap, pause) + best[gap + 1][pause + 1]:
            chosen[gap + 1] = inside[pause]
            gap, pause = gap + 1, pause + 1
        elif now == best[gap + 1][pause]:
            gap += 1
        else:
            pause += 1
    return chosen
