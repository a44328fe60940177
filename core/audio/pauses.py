"""Where nobody speaks in a recording: stretches so soft that a cut there is inside no sound."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from .mixing import Waveform

_HOP_SECONDS = 0.01
_SHORTEST = 6
"""Hops; what is shorter is between two vibrations of a low voice, not between two sounds."""
_SILENT, _OVER_FLOOR, _MOST = 10**-3.5, 4.0, 10**-1.5
"""Powers below which nothing is said: of the loudest speech; times that of the softest hops, where a noise
fills the pauses; and at most, of the loudest speech again."""
_INAUDIBLE = 1e-9
"""Power that is silence whatever the rest is: −90 dBFS."""


def pauses_in(samples: Waveform, sample_rate: int) -> list[tuple[float, float]]:
    """Return the silent stretches of mono samples from 0.06 s on, each its beginning and its end, seconds.

    What is silent at the very beginning and end is among them. Below 100 Hz there are none.
    """
    hop = _HOP_SECONDS * sample_rate
    count = int(len(samples) / hop)
    if hop < 1 or not count:
        return []
    # Hops of one length would drift from the time: at 22.05 kHz they are 220.5 samples.
    edges = np.round(np.arange(count + 1) * hop).astype(np.int64)
    squares = np.square(samples[: edges[-1]].astype(np.float64))
    powers = np.add.reduceat(squares, edges[:-1]) / np.diff(edges)
    softest, loudest = (float(power) for power in np.percentile(powers, (5, 95)))
    least = min(max(_OVER_FLOOR * softest, _SILENT * loudest, _INAUDIBLE), max(_MOST * loudest, _INAUDIBLE))
    found = []
    place = 0
    for is_silent, run in groupby((powers < least).tolist()):
        length = len(list(run))
        if is_silent and length >= _SHORTEST:
            found.append((place * _HOP_SECONDS, (place + length) * _HOP_SECONDS))
        place += length
    return [(round(start, 2), round(end, 2)) for start, end in found]
