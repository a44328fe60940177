"""Cutting recordings: in pauses only, no longer than asked, nothing lost, short leftovers avoided."""

from __future__ import annotations

import numpy as np
import pytest
from fishtune.core.stages.prepare.cuts import CutRules, Span, cut, speech_spans
from hypothesis import given
from hypothesis import strategies as st

FRAME = 0.032
RULES = CutRules()


def spans(*edges: float) -> list[Span]:
    return [Span(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Span], float]:
    """Stretches of speech of 0.1 to 15 s with pauses of 0.15 to 4 s, and the length of it all."""
    time, speech = draw(st.floats(0, 3)), []
    for _ in range(draw(st.integers(0, 40))):
        seconds = draw(st.floats(0.1, 15))
        speech.append(Span(time, time + seconds))
        time += seconds + draw(st.floats(0.15, 4))
    return speech, time


@given(recordings(), st.floats(4, 20))
def test_every_word_is_in_one_clip_and_every_cut_lies_in_a_pause(
    recording: tuple[list[Span], float], longest: float
) -> None:
    speech, total = recording
    found = cut(speech, total, CutRules(longest=longest))
    assert all(clip.seconds <= longest + 1e-9 for clip in found.clips)
    assert found.clips == sorted(found.clips, key=lambda clip: clip.start)
    assert all(
        one.end <= other.start + 1e-9 for one, other in zip(found.clips, found.clips[1:], strict=False)
    )
    assert all(clip.start >= 0 and clip.end <= total for clip in found.clips)
    for span in speech:
        homes = [clip for clip in found.clips if clip.start <= span.start and span.end <= clip.end]
        touched = [clip for clip in found.clips if clip.start < span.end and span.start < clip.end]
        assert (len(homes), len(touched)) == ((0, 0) if span in found.without_pause else (1, 1))
    assert found.without_pause == [span for span in speech if span.seconds > longest]


def test_a_long_pause_is_preferred_and_no_short_rest_stays() -> None:
    # Greedy filling up to 12 s would cut at 11 and leave 2 s alone.
    speech = spans(0, 5, 5.6, 11, 11.2, 13.2)
    clips = cut(speech, 13.2, RULES).clips
    assert [(round(clip.start, 1), round(clip.end, 1)) for clip in clips] == [(0, 5.2), (5.4, 13.2)]


def test_silence_is_kept_at_both_ends_but_never_the_neighbours_words() -> None:
    clips = cut(spans(1, 10, 10.3, 20), 25, RULES).clips
    assert clips == [
        Span(pytest.approx(0.8), pytest.approx(10.15)),
        Span(pytest.approx(10.15), pytest.approx(20.2)),
    ]


def test_a_long_silence_is_never_inside_a_clip() -> None:
    assert len(cut(spans(0, 2, 3.5, 5), 5, RULES).clips) == 2


def test_speech_without_a_pause_is_said_and_not_cut() -> None:
    found = cut(spans(0, 4, 4.5, 20, 20.5, 25), 25, RULES)
    assert found.without_pause == spans(4.5, 20)
    assert [round(clip.start, 2) for clip in found.clips] == [0, 20.3]


def test_probabilities_become_stretches_without_clicks_and_closures() -> None:
    likely = np.zeros(400)
    likely[10:50] = 0.9
    likely[30:33] = 0.1  # 0.1 s: the closure of a plosive
    likely[100:102] = 0.9  # a click
    likely[200:300] = np.linspace(0.6, 0.4, 100)  # doubtful to its end, but never silent
    found = speech_spans(likely, FRAME, RULES.least_pause)
    assert [(round(span.start / FRAME), round(span.end / FRAME)) for span in found] == [(10, 50), (200, 300)]


def test_speech_up_to_the_last_frame_ends_with_it() -> None:
    assert speech_spans(np.ones(100), 0.01, 0.15) == [Span(0, pytest.approx(1.0))]


def test_unwanted_speech_is_in_no_clip_and_parts_what_lies_around_it() -> None:
    speech = spans(0, 2, 2.2, 4, 4.2, 6)
    clips = cut(speech, 6, RULES, unwanted={speech[1]}).clips
    assert clips == [Span(0, pytest.approx(2.1)), Span(pytest.approx(4.1), 6)]


def test_silence_at_the_ends_of_a_recording_is_kept_as_elsewhere() -> None:
    assert cut(spans(0.15, 4.9), 5.0, RULES).clips == [Span(0, pytest.approx(5.0))]


def test_an_hour_is_cut_at_once() -> None:
    speech = [Span(3.0 * n, 3.0 * n + 2.6) for n in range(1200)]
    clips = cut(speech, 3600, RULES).clips
    assert sum(round(clip.seconds / 3) for clip in clips) == 1200
    assert min(clip.seconds for clip in clips) >= 3
