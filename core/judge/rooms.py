"""How long a room rings: the time in which sound falls by 60 dB, from how quickly speech dies away.

After every word the level falls; in a dry room as quickly as the voice ends, in a reverberant one no faster
than the room lets it. The method of Wen, Habets and Naylor 2008, "Blind estimation of the reverberation time
based on the distribution of signal decay rates", in its plainest form.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import numpy as np

from ..audio.mixing import Waveform

SAMPLE_RATE = 16_000
"""Hz."""
REVERBERANT = 0.42
"""Seconds from which a room is heard. Measured on clips of LJ Speech: dry at most .27; with .6 s of
reverberation, 3 dB below the voice, at least .45."""
FEWEST = 10
"""Decays that tell a room."""
_HOP = 160  # samples, 10 ms
_SMOOTHED = 3  # hops
_SHORTEST = 4  # hops
_FALL, _FROM = 12.0, -25.0
"""Decibels that a decay falls by at least, and the level, relative to the loudest speech, that it starts
from."""
_OVER_NOISE, _LOWEST = 6.0, -60.0
_RISE = 0.3
"""Decibels that it may rise on its way."""


def decay_times(samples: Waveform) -> list[float]:
    """Return for every decay in mono samples at `SAMPLE_RATE` how long 60 dB take at its pace, seconds."""
    count = len(samples) // _HOP
    if count <= _SHORTEST:
        return []
    powers = np.square(samples[: count * _HOP].astype(np.float64)).reshape(count, _HOP).mean(axis=1)
    powers = np.convolve(powers, np.full(_SMOOTHED, 1 / _SMOOTHED), "same")
    top = float(np.percentile(powers, 95))
    if top <= 0:
        return []
    levels = 10 * np.log10(np.maximum(powers / top, 1e-9))
    floor = max(float(np.percentile(levels, 3)) + _OVER_NOISE, _LOWEST)
    falls = (levels[1:] <= levels[:-1] + _RISE) & (levels[1:] > floor)
    found = []
    begin = 0
    while begin < count - 1:
        end = begin
        while end < count - 1 and falls[end]:
            end += 1
        if end - begin >= _SHORTEST and levels[begin] > _FROM and levels[begin] - levels[end] >= _FALL:
            slope = np.polyfit(np.arange(end - begin + 1) * _HOP / SAMPLE_RATE, levels[begin : end + 1], 1)[0]
            found.append(round(float(-60 / slope), 3))
        begin = max(end, begin + 1)
    return found


def reverberation(decays: Iterable[float]) -> float | None:
    """Return how long the room rings that decays were measured in, seconds; None where too few tell it."""
    known = list(decays)
    return statistics.median(known) if len(known) >= FEWEST else None
