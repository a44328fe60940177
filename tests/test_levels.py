"""Loudness, peaks, clipping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fishtune.core.audio.levels import clipped_samples, decibels, loudness, outline, peak


def sine(seconds: float, amplitude: float, rate: int = 48_000, frequency: float = 997.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)[:, None]


def test_the_standards_reference_tone_has_its_loudness() -> None:
    # BS.1770-4, annex 1: a full-scale sine of 997 Hz in one front channel reads −3.01 LKFS.
    assert loudness(sine(5, 1.0), 48_000) == pytest.approx(-3.01, abs=0.05)
    assert loudness(sine(5, 0.1), 48_000) == pytest.approx(-23.01, abs=0.05)
    both = np.repeat(sine(5, 0.1), 2, axis=1)
    assert loudness(both, 48_000) == pytest.approx(-20.0, abs=0.05)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
@pytest.mark.parametrize("samples", [1, 7, 100, 3199, 3200, 17640, 17641])
def test_recordings_shorter_than_a_gating_block_are_measured_too(rate: int, samples: int) -> None:
    measured = loudness(sine(1, 0.1, rate)[:samples], rate)
    assert measured < 0  # finite or silent, but measured


def test_a_short_tone_has_the_loudness_of_a_long_one() -> None:
    assert loudness(sine(0.3, 0.1), 48_000) == pytest.approx(loudness(sine(3, 0.1), 48_000), abs=0.3)


def test_silence_and_many_channels_are_no_errors() -> None:
    assert loudness(np.zeros((48_000, 1), np.float32), 48_000) == -math.inf
    assert loudness(np.zeros((100, 2), np.float32), 48_000) == -math.inf
    assert loudness(np.repeat(sine(1, 0.1), 8, axis=1), 48_000) == pytest.approx(-23.0, abs=0.1)


def test_only_runs_at_full_scale_count_as_clipped() -> None:
    samples = np.zeros((20, 1), np.float32)
    samples[[2, 5, 6], 0] = 1.0
    assert clipped_samples(samples) == 0
    samples[10:14, 0] = -1.2
    assert clipped_samples(samples) == 4
    assert clipped_samples(np.ones((2, 1), np.float32)) == 0
    assert clipped_samples(np.ones((5, 2), np.float32)) == 10


def test_peaks_in_decibels() -> None:
    assert decibels(peak(np.array([[0.1], [-0.5]], np.float32))) == pytest.approx(-6.02, abs=0.01)
    assert decibels(0.0) == -math.inf


def test_the_outline_has_the_peak_of_every_part() -> None:
    samples = np.array([[0.1], [-0.9], [0.2], [0.0], [0.3], [2.0]], np.float32)
    assert outline(samples, 3) == pytest.approx([0.9, 0.2, 1.0])
    assert len(outline(samples, 100)) == 6
