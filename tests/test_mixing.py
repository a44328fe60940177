"""From channels to mono: nothing of the voice is lost to empty or swapped channels."""

from __future__ import annotations

import numpy as np
import pytest
from fishtune.core.audio.mixing import Mixing, mix

RATE = 44_100


def voice(seed: int = 0, seconds: float = 2.0) -> np.ndarray:
    """Noise that comes in bursts, as syllables do."""
    generator = np.random.default_rng(seed)
    count = round(seconds * RATE)
    envelope = (np.sin(np.arange(count) / RATE * 2 * np.pi * 1.5) > 0) * 0.1
    return (generator.standard_normal(count) * envelope).astype(np.float32)


def hiss(decibels: float, seed: int = 9) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(len(voice())) * 10 ** (decibels / 20)).astype(np.float32)


def mixed(*channels: np.ndarray) -> tuple[Mixing, tuple[int, ...], np.ndarray]:
    mono = mix(np.stack(channels, 1).astype(np.float32), RATE)
    assert mono.samples.dtype == np.float32
    return mono.mixing, mono.channels, mono.samples


def test_one_channel_is_taken_as_it_is() -> None:
    mixing, channels, samples = mixed(voice())
    assert (mixing, channels) == (Mixing.MEAN, (0,))
    assert np.array_equal(samples, voice())


@pytest.mark.parametrize(
    "other", [voice(), voice(1), voice() * 0.3 + voice(1), voice() * 0.1, np.roll(voice(), 40)]
)
def test_ordinary_stereo_is_averaged(other: np.ndarray) -> None:
    mixing, _, samples = mixed(voice(), other)
    assert mixing is Mixing.MEAN
    assert np.array_equal(samples, (voice() + other) / np.float32(2))


@pytest.mark.parametrize(
    "other", [0 * voice(), 0 * voice() + 0.02, hiss(-70), hiss(-60) + 0.05, np.linspace(0, 0.1, len(voice()))]
)
def test_a_voice_on_one_channel_keeps_its_level(other: np.ndarray) -> None:
    for channels in ((voice(), other), (other, voice()), (other, other, voice(), other)):
        mixing, used, samples = mixed(*channels)
        assert mixing is Mixing.ONE_SIDED
        assert len(used) == 1
        assert np.array_equal(samples, voice())


def test_a_long_pause_with_noise_on_the_other_channel_does_not_hide_a_short_voice() -> None:
    left = np.concatenate([voice(), np.zeros(40 * RATE, np.float32)])
    right = np.tile(hiss(-52), 21)[: len(left)]
    assert mixed(left, right)[0] is Mixing.ONE_SIDED


def test_all_channels_with_a_voice_are_averaged_and_the_silent_left_out() -> None:
    mixing, used, samples = mixed(voice(), 0 * voice(), voice(1))
    assert (mixing, used) == (Mixing.ONE_SIDED, (0, 2))
    assert np.array_equal(samples, (voice() + voice(1)) / np.float32(2))
    assert mixed(*(voice(seed) for seed in range(5)))[0] is Mixing.MEAN


@pytest.mark.parametrize("gain", [-1.0, -0.99, -0.9, -0.5])
def test_of_channels_that_cancel_each_other_one_is_taken(gain: float) -> None:
    for channels in (
        (voice(), gain * voice()),
        (voice(), gain * voice() + hiss(-70)),
        (voice(), gain * voice(), hiss(-80)),
    ):
        mixing, used, samples = mixed(*channels)
        assert (mixing, used) == (Mixing.OPPOSITE_PHASE, (0,))
        assert np.array_equal(samples, voice())


def test_the_level_of_a_recording_does_not_change_its_mix() -> None:
    for gain in (1e-4, 1.0, 1e10, 1e18):
        assert mixed(gain * voice(), gain * hiss(-60))[0] is Mixing.ONE_SIDED
        assert mixed(gain * voice(), -gain * voice())[0] is Mixing.OPPOSITE_PHASE


@pytest.mark.parametrize("samples", [1, 2, 100, 2_205, 2_206])
def test_silence_and_very_short_recordings_are_mixed(samples: int) -> None:
    assert mixed(np.zeros(samples), np.zeros(samples))[0] is Mixing.MEAN
    assert len(mixed(voice()[:samples], voice(1)[:samples])[2]) == samples
