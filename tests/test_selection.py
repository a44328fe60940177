"""The choice of a checkpoint: by what it says and sounds like, and by loss where nobody listened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fishtune.core.judge.results import Measure, Measures
from fishtune.core.judge.selection import Candidate, Recommendation, Yardsticks, recommend


def measure(mean: float, spread: float = 0.0) -> Measure:
    return Measure(mean=mean, low=mean - spread, high=mean + spread, texts=32)


def measures(wer: float = 0.05, similarity: float = 0.8, spread: float = 0.02, **other: Measure) -> Measures:
    return Measures(wer=measure(wer, spread), similarity=measure(similarity, spread), **other)


def candidate(step: int, found: Measures | None = None, **other: Any) -> Candidate:
    return Candidate(step=step, path=Path(f"step_{step}"), measures=found, **other)


def chosen(*candidates: Candidate, **against: Any) -> Recommendation:
    recommendation = recommend(candidates, Yardsticks(**against))
    assert recommendation is not None
    return recommendation


def test_words_come_before_everything_but_only_beyond_the_interval_of_the_best() -> None:
    told = chosen(
        candidate(10, measures(wer=0.12)),
        candidate(20, measures(wer=0.06)),
        candidate(30, measures(wer=0.05)),
    )
    assert told.candidate.step == 20
    assert "6.0% of its words are wrong (4.0% to 8.0%)" in told.reason
    assert "the earliest of 2 that are as good as the best" in told.reason


def test_of_equal_words_the_voice_decides_and_then_rate_and_pitch() -> None:
    by_voice = chosen(candidate(10, measures(similarity=0.6)), candidate(20, measures(similarity=0.8)))
    assert by_voice.candidate.step == 20
    own = Measures(rate=measure(14.0), pitch=measure(200.0))
    slow, right = measures(rate=measure(9.0, 0.5)), measures(rate=measure(13.8, 0.5))
    assert chosen(candidate(10, slow), candidate(20, right), recordings=own).candidate.step == 20
    high, same = measures(pitch=measure(280.0, 4)), measures(pitch=measure(205.0, 4))
    assert chosen(candidate(10, high), candidate(20, same), recordings=own).candidate.step == 20
    assert chosen(candidate(10, high), candidate(20, same)).candidate.step == 10, "nothing to compare with"


def test_loss_breaks_the_tie_that_is_left() -> None:
    equal = [
        candidate(step, measures(), validation_loss=loss) for step, loss in ((10, 5.9), (20, 4.1), (30, 4.0))
    ]
    told = chosen(*equal, base_loss=6.0)
    assert told.candidate.step == 20
    assert "its held-out loss decides: 4.100" in told.reason


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"found": measures(wer=0.6)}, "60% of its words are wrong"),
        ({"found": measures(similarity=0.3)}, "another voice, of similarity 0.30"),
        ({"found": measures(faulty=measure(0.7)), "healthy": False}, "70% of what it says is unsound"),
        ({"healthy": False}, "most of what it says is unsound"),
    ],
)
def test_what_cannot_be_used_is_out_with_its_numbers(bad: dict[str, Any], why: str) -> None:
    told = chosen(
        candidate(10, **bad, validation_loss=1.0), candidate(20, measures(wer=0.3), validation_loss=4.0)
    )
    assert told.candidate.step == 20
    assert len(told.out) == 1 and why in told.out[0] and told.out[0].startswith("Step 10 is out")
    alone = chosen(candidate(10, **bad))
    assert "None of the checkpoints generates sound speech" in alone.reason


def test_what_recognition_does_not_understand_of_the_base_either_puts_nobody_out() -> None:
    told = chosen(candidate(10, measures(wer=0.6)), base=measures(wer=0.61))
    assert told.out == ()
    assert "base 61.0%" in told.reason


def test_what_is_wrong_with_the_recordings_themselves_puts_nobody_out() -> None:
    noisy = candidate(10, measures(faulty=measure(0.8)), healthy=False)
    assert chosen(noisy, recordings=measures(faulty=measure(0.9, 0.1))).out == ()
    assert len(chosen(noisy, recordings=measures(faulty=measure(0.1, 0.1))).out) == 1


def test_base_and_recordings_are_told_beside_the_numbers() -> None:
    told = chosen(
        candidate(10, measures()), base=measures(wer=0.08, similarity=0.5), recordings=measures(wer=0.02)
    )
    assert "(3.0% to 7.0%; base 8.0%; your recordings 2.0%)" in told.reason
    assert "similarity 0.80 (0.78 to 0.82; base 0.50; your recordings 0.80)" in told.reason


def test_without_a_judge_the_earliest_with_most_of_the_improvement_over_the_base_wins() -> None:
    losses = ((10, 5.0), (20, 4.04), (30, 4.0))
    told = chosen(*(candidate(step, validation_loss=loss) for step, loss in losses), base_loss=6.0)
    assert told.candidate.step == 20
    assert "95% of the best improvement over the base" in told.reason
    assert "4.040, the base's 6.000, the lowest 4.000 at step 30" in told.reason
    # Within one percent of the lowest, but with half the improvement only.
    losses = ((10, 4.02), (20, 4.0))
    told = chosen(*(candidate(step, validation_loss=loss) for step, loss in losses), base_loss=4.04)
    assert told.candidate.step == 20


def test_a_run_that_is_worse_than_its_base_is_told_so() -> None:
    told = chosen(candidate(10, validation_loss=4.1), candidate(20, validation_loss=4.3), base_loss=4.0)
    assert told.candidate.step == 10
    assert "No checkpoint has a lower held-out loss than the base, 4.000" in told.reason


def test_what_was_not_listened_to_does_not_compete_with_what_was() -> None:
    told = chosen(candidate(10, validation_loss=1.0), candidate(20, measures(), validation_loss=4.0))
    assert told.candidate.step == 20


def test_what_is_out_was_listened_to_as_well() -> None:
    found = chosen(candidate(1, measures(wer=0.9)), candidate(2, measures(wer=0.05)), base=measures())
    assert found.candidate.step == 2 and found.reason.endswith("It is the best of 2 that were listened to.")
