"""Where a long recording is cut: in pauses, into clips of the wanted lengths, never inside a word.

Speech comes as stretches between pauses. Every pause may become a cut; which do is decided for the whole
recording at once (dynamic programming over the stretches), so that a long pause is preferred to a short one
and no clip is left over that is too short, where another choice avoids it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SURE_SPEECH, _SURE_SILENCE = 0.5, 0.35
"""Probabilities of speech at which a stretch begins, and at which it ends (hysteresis as Silero's own)."""
_LEAST_SPEECH = 0.1
"""Seconds; anything shorter is a click."""
_GOOD_PAUSE = 0.5
"""Seconds; a longer pause is no better a place."""
# Costs, in units of a clip that is missing all of its shortest length.
_COST_OF_A_SHORT_PAUSE = 0.5
_COST_OF_SHORTNESS = 1.0
_COST_OF_A_CLIP = 0.05
"""Of two cuttings that are equally good the one with fewer clips."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


@dataclass(frozen=True)
class CutRules:
    """What clips are to be like; seconds."""

    shortest: float = 3.0
    longest: float = 12.0
    least_pause: float = 0.15
    """A shorter silence is part of a word: the closure before a plosive takes up to 0.12 s."""
    longest_pause: float = 1.0
    """A longer silence is never inside a clip."""
    kept_silence: float = 0.2
    """What is kept before the first and behind the last word, at most half the pause there."""


@dataclass(frozen=True)
class Cutting:
    """Result of `cut`."""

    clips: list[Span]
    without_pause: list[Span]
    """Stretches of speech longer than the longest clip, in which nobody pauses: no clips."""


def speech_spans(probabilities: npt.ArrayLike, seconds_per_frame: float, least_pause: float) -> list[Span]:
    """Return the stretches of speech between pauses.

    Args:
        probabilities: of speech, one per frame.
        least_pause: seconds; stretches closer to each other are one.
    """
    spans: list[Span] = []
    start = -1
    values = np.asarray(probabilities, dtype=np.float64)
    for frame, probability in enumerate([*values, 0.0]):
        if start < 0 and probability >= _SURE_SPEECH:
            start = frame
        elif start >= 0 and probability < _SURE_SILENCE:
            spans.append(Span(start * seconds_per_frame, frame * seconds_per_frame))
            start = -1
    joined: list[Span] = []
    for span in spans:
        if joined and span.start - joined[-1].end < least_pause:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return [span for span in joined if span.seconds >= _LEAST_SPEECH]


def cut(
    speech: Sequence[Span], total_seconds: float, rules: CutRules, unwanted: Collection[Span] = ()
) -> Cutting:
    """Return the clips of a recording.

    Clips lie in order, do not overlap, begin and end in pauses, and hold every stretch of speech but those
    listed in `without_pause`. None is longer than `rules.longest`; one that stands alone between long pauses
    may be shorter than `rules.shortest`.

    Args:
        speech: stretches of speech in order, as `speech_spans` gives them.
        total_seconds: length of the recording.
        unwanted: those of the stretches that belong into no clip.
    """
    groups: list[list[Span]] = [[]]
    too_long: list[Span] = []
    for span in speech:
        if span in unwanted:
            groups.append([])
            continue
        if span.seconds > rules.longest:
            too_long.append(span)
            groups.append([])
            continue
        if groups[-1] and span.start - groups[-1][-1].end > rules.longest_pause:
            groups.append([])
        groups[-1].append(span)
    clips = [clip for group in groups for clip in _cut_group(group, rules)]
    return Cutting(_with_silence(clips, speech, total_seconds, rules), too_long)


def _cut_group(speech: Sequence[Span], rules: CutRules) -> list[Span]:
    """Return the best division of stretches that may all stand in one clip but for its length."""
    count = len(speech)
    best = [math.inf] * count + [0.0]
    following = [count] * count
    for first in range(count - 1, -1, -1):
        for last in range(first, count):
            seconds = speech[last].end - speech[first].start
            if seconds + 2 * rules.kept_silence > rules.longest and last > first:
                break
            cost = _COST_OF_A_CLIP + best[last + 1]
            if seconds < rules.shortest:
                cost += _COST_OF_SHORTNESS * (1 - seconds / rules.shortest)
            if last + 1 < count:
                pause = speech[last + 1].start - speech[last].end
                cost += _COST_OF_A_SHORT_PAUSE * max(0.0, 1 - pause / _GOOD_PAUSE)
            if cost < best[first]:
                best[first], following[first] = cost, last + 1
    clips = []
    first = 0
    while first < count:
        clips.append(Span(speech[first].start, speech[following[first] - 1].end))
        first = following[first]
    return clips


def _with_silence(
    clips: Sequence[Span], speech: Sequence[Span], total_seconds: float, rules: CutRules
) -> list[Span]:
    """Return clips with some of the silence around them, at most half of what lies up to the next speech."""
    # Nothing speaks before the beginning and behind the end: there, all of the silence may be taken.
    ends = [-speech[0].start, *(span.end for span in speech)] if speech else []
    starts = [*(span.start for span in speech), 2 * total_seconds - speech[-1].end] if speech else []
    padded = []
    for clip in clips:
        before = clip.start - ends[bisect_right(ends, clip.start) - 1]
        behind = starts[bisect_left(starts, clip.end)] - clip.end
        most = min(rules.kept_silence, (rules.longest - clip.seconds) / 2)
        padded.append(Span(clip.start - min(most, before / 2), clip.end + min(most, behind / 2)))
    return padded
