"""What the samples alone tell: made-up sounds, and real speech made worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fishtune.core.audio.recordings import read_audio
from fishtune.core.judge.acoustics import SAMPLE_RATE, Acoustics, measure

from .judge_kit import lj_clips


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return read_audio(lj_clips()[3], SAMPLE_RATE)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def clean(found: Acoustics) -> bool:
    return (
        found.longest_pause < 0.5
        and -8 < found.slope < 8
        and found.range > 25
        and found.steadiest < 0.2
        and found.repeated < 0.25
        and found.clipped == 0
    )


def test_real_speech_is_measured_as_sound(speech: np.ndarray) -> None:
    found = measure(speech)
    assert clean(found)
    assert found.seconds == pytest.approx(5.1, abs=0.05)
    assert 4 < found.active < 5


def test_silence_is_found_where_it_is(speech: np.ndarray) -> None:
    half = len(speech) // 2
    found = measure(np.concatenate([silence(2), speech[:half], silence(3), speech[half:], silence(4)]))
    assert found.leading == pytest.approx(2, abs=0.3)
    assert found.longest_pause == pytest.approx(3, abs=0.3)
    assert found.pause_at == pytest.approx(2 + half / SAMPLE_RATE, abs=0.3)
    assert found.trailing == pytest.approx(4, abs=0.3)


def test_a_fade_is_measured_in_decibels(speech: np.ndarray) -> None:
    faded = speech * 10 ** (-np.linspace(0, 1, len(speech))).astype(np.float32)
    assert measure(faded).slope - measure(speech).slope == pytest.approx(-17, abs=4)


def test_what_is_said_twice_by_a_machine_is_found(speech: np.ndarray) -> None:
    found = measure(np.concatenate([speech, speech[-SAMPLE_RATE:]]))
    assert found.repeated > 0.6
    assert found.repeated_at == pytest.approx(len(speech) / SAMPLE_RATE, abs=0.3)


def test_a_stuck_sound_is_found(speech: np.ndarray) -> None:
    place = int(np.abs(speech).argmax())
    grain = speech[place - 240 : place + 240]
    stuck = np.concatenate([speech[:place], np.tile(grain, 50), speech[place:]])
    assert measure(stuck).steadiest == pytest.approx(1.5, abs=0.4)


def test_noise_fills_the_pauses(speech: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, np.sqrt(np.square(speech).mean() / 3), len(speech))
    assert measure((speech + noise).astype(np.float32)).range < 15


def test_samples_at_full_scale_are_counted(speech: np.ndarray) -> None:
    assert measure(np.clip(speech * 20, -1, 1)).clipped > 0.05


@pytest.mark.parametrize("samples", [silence(3), silence(0.01), np.ones(1, np.float32)])
def test_what_is_no_speech_has_measurements_too(samples: np.ndarray, tmp_path: Path) -> None:
    found = measure(samples)
    assert np.isfinite([found.slope, found.range, found.active, found.clipped]).all()
    assert (found.steadiest, found.repeated, found.longest_pause) == (0, 0, 0)
