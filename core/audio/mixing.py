"""The one way from a recording's channels to the mono that the codec gets.

Channels are averaged. That is wrong in two cases, both met in the field: a voice on one channel of several
would lose 6 dB and more to the empty ones, and a channel with its wires swapped would cancel the other. There
the channels that carry the voice are used, or one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ..events import Reporter
from ..messages import named

Waveform = npt.NDArray[np.float32]

SILENT_DECIBELS = -25.0
"""A channel this far below the loudest one, while something is said, carries none of the voice."""
_BLOCK_SECONDS = 0.05
_BLOCKS_AT_ONCE = 64
# Blocks 10 dB below the mean are pauses (as in BS.1770's gating), in which channels differ by their noise.
_GATE = 0.1
# A mean with less than half the power that unrelated channels would leave has lost it by cancelling.
_CANCELLING = 0.5
_EQUAL = 0.98  # a tenth of a decibel


class Mixing(StrEnum):
    """How mono was made of the channels."""

    MEAN = "mean"
    """All channels were averaged; a single one was taken as it is."""
    ONE_SIDED = "one-sided"
    """Channels without the voice were left out."""
    OPPOSITE_PHASE = "opposite-phase"
    """The channels cancel each other; one of them was taken."""


@dataclass(frozen=True, slots=True)
class Mono:
    """What the codec gets of a recording, at the recording's own rate."""

    samples: Waveform
    """`(samples,)`."""
    mixing: Mixing
    channels: tuple[int, ...]
    """Those used, from 0."""


def mix(samples: Waveform, sample_rate: int) -> Mono:
    """Return the mono mix of `(samples, channels)`; it does not depend on the recording's level."""
    count = samples.shape[1]
    everyone = tuple(range(count))
    if count == 1:
        return Mono(samples[:, 0], Mixing.MEAN, everyone)
    covariance = _covariance(samples, sample_rate)
    power = covariance.diagonal()
    # The first of equals, not whichever rounding prefers.
    loudest = int((power >= _EQUAL * power.max()).argmax())
    used = tuple(
        int(channel) for channel in np.flatnonzero(power >= power[loudest] * 10 ** (SILENT_DECIBELS / 10))
    )
    mean_power = covariance[np.ix_(used, used)].mean()
    if len(used) > 1 and mean_power < _CANCELLING * power[list(used)].mean() / len(used):
        return Mono(_mean(samples, (loudest,)), Mixing.OPPOSITE_PHASE, (loudest,))
    return Mono(_mean(samples, used), Mixing.MEAN if used == everyone else Mixing.ONE_SIDED, used)


def _covariance(samples: Waveform, sample_rate: int) -> npt.NDArray[np.float64]:
    """Return the channels' powers and common powers `(channels, channels)` where something is said.

    Within blocks, so that neither an offset nor its drift counts as sound.
    """
    length = max(min(round(_BLOCK_SECONDS * sample_rate), len(samples)), 1)
    step = length * _BLOCKS_AT_ONCE
    # What is left behind the last whole block would be weighed like one.
    used = samples[: len(samples) // length * length]
    each = np.concatenate(
        [_products(used[begin : begin + step], length) for begin in range(0, len(used), step)]
    )
    power = np.trace(each, axis1=1, axis2=2)
    covariance: npt.NDArray[np.float64] = each[power >= _GATE * power.mean()].sum(axis=0)
    return covariance


def _products(samples: Waveform, length: int) -> npt.NDArray[np.float64]:
    """Return `(blocks, channels, channels)` of blocks of `length` samples."""
    blocks = np.ascontiguousarray(samples.T, dtype=np.float64).reshape(samples.shape[1], -1, length)
    blocks -= blocks.mean(axis=2, keepdims=True)
    blocks = blocks.transpose(1, 0, 2)
    products: npt.NDArray[np.float64] = np.matmul(blocks, blocks.transpose(0, 2, 1))
    return products


def _mean(samples: Waveform, channels: tuple[int, ...]) -> Waveform:
    # Channel by channel: several times as fast as a mean along the short axis.
    total = samples[:, channels[0]].copy()
    for channel in channels[1:]:
        total += samples[:, channel]
    return total / np.float32(len(channels)) if len(channels) > 1 else total


def warn_of_channels(reporter: Reporter, one_sided: list[str], opposite_phase: list[str]) -> None:
    """Say which recordings had channels left out.

    Args:
        one_sided: names of those mixed as `Mixing.ONE_SIDED`.
        opposite_phase: names of those mixed as `Mixing.OPPOSITE_PHASE`.
    """
    if one_sided:
        reporter.warn(
            "{files}: only the channels that carry the voice are used.",
            "Listen to what is on the others; export it as mono if it should be heard too.",
            files=named(one_sided),
        )
    if opposite_phase:
        reporter.warn(
            "{files}: the channels cancel each other, so one of them is used.",
            "A wire may have been swapped; export it as mono if another channel is better.",
            files=named(opposite_phase),
        )
