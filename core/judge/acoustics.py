"""What the samples alone tell of a recording: where it is silent, whether it fades, is stuck, or repeats
itself.

Thresholds that say what counts as speech or as alike are here; from which length a thing is a fault,
`verdict` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from ..audio.levels import clipped_samples
from ..audio.mixing import Waveform
from .rules import WINDOW_SECONDS, window_powers

SAMPLE_RATE = 16_000
"""Hz; of the samples that are measured."""
_PAUSE = 10 ** (-30 / 10)
"""Power of a pause, relative to the loudest speech (the 95th percentile of windows)."""
_LEAST = 1e-9
"""Power that is silence whatever the rest is: −90 dBFS."""
_PARTS = 6
"""Into which a recording is cut to see its level change."""
_FADED = 10 ** (-40 / 10)
"""Power, likewise, down to which speech is followed as it fades; most rooms are quieter."""
_STEADY_FRAME = 1024
"""Samples of a spectrum, 64 ms: two periods of the lowest sound that a stuck codec makes."""
_STEADY = 0.98
"""Cosine of neighbouring spectra (of square roots of amplitudes) from which a sound does not change. A
voice moves even in a long vowel: 0.16 s is the longest in 27 clean recordings of six speakers."""
_LOUD, _SOFT = 10 ** (-20 / 10), 10 ** (-30 / 10)
"""Power, relative to the loudest speech, from which a sound is surely speech, and from which it may be."""
_OVER_NOISE = 10
"""Times the power of the quietest windows, from which what may be speech is no room noise."""
_BANDS, _FRAME, _HOP = 40, 400, 160
"""Mel bands, window and step, samples, of what is looked for again."""
_ALIKE = 0.9
"""Cosine of two frames of one sound. The same words said again differ within 0.2 s."""
_SHORTEST_LAG = 25
"""Frames, 0.25 s: nothing of speech is said again sooner."""
_EDGE = 320
"""Samples, 20 ms, at the beginning and the end."""
_INAUDIBLE = -90.0
"""Decibels."""
_BLOCK, _BLOCK_HOP = 4, 1600
"""Hops and samples (0.1 s) of a block of momentary loudness, 0.4 s as in BS.1770."""
_FEWEST_BLOCKS = 25
"""Blocks with speech, 2.5 s, that tell how its level moves: a few words are of one level anyway."""
_MOST_FRAMES = 6_000
"""One minute; the comparison takes the square of it."""


@dataclass(frozen=True, slots=True)
class Acoustics:
    """What was measured; times in seconds, levels in decibels."""

    seconds: float
    active: float
    """Speech, without pauses."""
    leading: float
    """Silence before it."""
    trailing: float
    """Silence after it."""
    longest_pause: float
    """The longest silence between two pieces of speech."""
    pause_at: float
    """Where that begins."""
    slope: float
    """By how much the level of speech rises from beginning to end; negative where it fades."""
    range: float
    """Between the loudest and the quietest windows (95th and 5th percentile): low where a noise fills the
    pauses."""
    steadiest: float
    """The longest sound that does not change."""
    repeated: float
    """The longest stretch of sound that is heard again, as exactly as only a machine says a thing twice."""
    repeated_at: float
    """Where it is heard the second time."""
    clipped: float
    """Share of the samples that are cut off at full scale."""
    first: float = _INAUDIBLE
    """Level of the first 20 ms, relative to the loudest speech: near 0 where a word is cut."""
    last: float = _INAUDIBLE
    """Level of the last 20 ms, likewise."""
    dynamics: float | None = None
    """Between the loud and the soft parts of the speech, blocks of 0.4 s: low where a compressor or limiter
    flattened it, whatever its loudness. None where there is too little speech to tell."""


def measure(samples: Waveform) -> Acoustics:
    """Return the acoustics of mono samples at `SAMPLE_RATE`; at least one sample."""
    powers = window_powers(samples, SAMPLE_RATE)
    top = float(np.percentile(powers, 95))
    active = powers > max(_PAUSE * top, _LEAST)
    runs = [(bool(is_active), len(list(run)) * WINDOW_SECONDS) for is_active, run in groupby(active)]
    begins = np.cumsum([0.0, *(length for _, length in runs)])
    pauses = [
        (length, float(begin))
        for number, ((is_active, length), begin) in enumerate(zip(runs, begins, strict=False))
        if not is_active and 0 < number < len(runs) - 1
    ]
    longest, place = max(pauses, default=(0.0, 0.0))
    repeated, again = _repeated(samples)
    silent = not active.any()
    return Acoustics(
        seconds=len(samples) / SAMPLE_RATE,
        active=float(active.sum()) * WINDOW_SECONDS,
        leading=0.0 if runs[0][0] else runs[0][1],
        trailing=0.0 if runs[-1][0] or silent else runs[-1][1],
        longest_pause=longest,
        pause_at=place,
        slope=_slope(powers, top),
        range=float(10 * np.log10(top / max(float(np.percentile(powers, 5)), 1e-12)))
        if top > _LEAST
        else 0.0,
        steadiest=_steadiest(samples),
        repeated=repeated,
        repeated_at=again,
        clipped=clipped_samples(samples[:, None]) / len(samples),
        first=_edge_level(samples[:_EDGE], top),
        last=_edge_level(samples[-_EDGE:], top),
        dynamics=_dynamics(samples),
    )


def _dynamics(samples: Waveform) -> float | None:
    """Return how far the 95th percentile of the level of speech lies above the 10th, in decibels."""
    count = len(samples) // _BLOCK_HOP
    if count < _FEWEST_BLOCKS + _BLOCK - 1:
        return None
    hops = np.square(samples[: count * _BLOCK_HOP].astype(np.float64)).reshape(count, -1).mean(axis=1)
    blocks = np.lib.stride_tricks.sliding_window_view(hops, _BLOCK).mean(axis=1)
    spoken = blocks[blocks > max(_LOUD * float(np.percentile(blocks, 95)), _LEAST)]
    if len(spoken) < _FEWEST_BLOCKS:
        return None
    soft, loud = 10 * np.log10(np.percentile(spoken, (10, 95)))
    return float(loud - soft)


def _edge_level(samples: Waveform, top: float) -> float:
    """Return the level of some samples, relative to the power `top`, in decibels."""
    if top <= _LEAST:
        return _INAUDIBLE
    power = float(np.square(samples, dtype=np.float64).mean())
    return max(float(10 * np.log10(max(power, 1e-12) / top)), _INAUDIBLE)


def _slope(powers: npt.NDArray[np.float64], top: float) -> float:
    """Return the change of level of a line through the parts of a recording, from the first to the last."""
    levels = 10 * np.log10(powers[powers > max(_FADED * top, _LEAST)])
    if len(levels) < 2 * _PARTS:
        return 0.0
    parts = [np.percentile(part, 85) for part in np.array_split(levels, _PARTS)]
    return float(np.polyfit(np.arange(_PARTS), parts, 1)[0] * (_PARTS - 1))


def _steadiest(samples: Waveform) -> float:
    """Return the length of the longest stretch of audible sound whose spectrum stays the same."""
    hop = _STEADY_FRAME // 2
    if len(samples) < 2 * _STEADY_FRAME:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(samples, _STEADY_FRAME)[::hop] * np.hanning(
        _STEADY_FRAME
    )
    power = np.square(frames).mean(axis=1)
    spectra: npt.NDArray[np.float64] = np.sqrt(np.abs(np.fft.rfft(frames, axis=1)))
    spectra /= np.maximum(np.linalg.norm(spectra, axis=1, keepdims=True), 1e-12)
    audible = power > max(_LOUD * float(np.percentile(power, 95)), _LEAST)
    same = ((spectra[1:] * spectra[:-1]).sum(axis=1) >= _STEADY) & audible[1:] & audible[:-1]
    longest = max((len(list(run)) for is_same, run in groupby(same) if is_same), default=0)
    return longest * hop / SAMPLE_RATE


def _repeated(samples: Waveform) -> tuple[float, float]:
    """Return how long a stretch of speech is heard again, and where it begins the second time."""
    bands, loud = _bands(samples[: _MOST_FRAMES * _HOP])
    count = len(bands)
    if count <= _SHORTEST_LAG or not loud.any():
        return 0.0, 0.0
    bands = (bands - bands[loud].mean(axis=0)).astype(np.float32)
    bands /= np.linalg.norm(bands, axis=1, keepdims=True) + 1e-9
    alike = bands @ bands.T > _ALIKE
    longest, again = 0, 0
    for lag in range(_SHORTEST_LAG, count):
        run = np.flatnonzero(~np.append(np.diagonal(alike, lag), False))
        lengths = np.diff(run, prepend=-1) - 1
        best = int(lengths.argmax())
        begin = int(run[best] - lengths[best])
        if lengths[best] > longest:
            spoken = int((loud[begin : run[best]] & loud[begin + lag : run[best] + lag]).sum())
            if spoken > longest:
                longest, again = spoken, begin + lag
    return longest * _HOP / SAMPLE_RATE, again * _HOP / SAMPLE_RATE


def _bands(samples: Waveform) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return log mel energies `(frames, bands)`, and which frames are loud."""
    import torch
    from torchaudio.functional import melscale_fbanks

    if len(samples) < _FRAME:
        return np.zeros((0, _BANDS)), np.zeros(0, bool)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP] * np.hanning(_FRAME)
    spectra = np.square(np.abs(np.fft.rfft(frames, 512, axis=1)))
    filters: torch.Tensor = melscale_fbanks(257, 60.0, SAMPLE_RATE / 2, _BANDS, SAMPLE_RATE)
    energies = spectra @ filters.numpy().astype(np.float64)
    power = np.square(frames).mean(axis=1)
    quiet, top = (float(level) for level in np.percentile(power, (5, 95)))
    least = max(_SOFT * top, min(_OVER_NOISE * quiet, _LOUD * top), _LEAST)
    loud: npt.NDArray[np.bool_] = power > least
    return np.log(energies + 1e-9), loud
