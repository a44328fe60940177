"""How loud a recording is: BS.1770 loudness, peaks, clipping, and an outline to draw.

Samples are float32 `(samples, channels)`, full scale 1.0.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from .mixing import Waveform

GATE_SECONDS = 0.4
"""Block of BS.1770's gating."""
NEAR_SILENCE = -50.0
"""LUFS; a quiet but usable recording has about −35."""
_MOST_CHANNELS = 5  # that BS.1770 has weights for
_FULL_SCALE = 0.999
# One sample at full scale is a peak, three in a row are a flattened one.
_CLIPPED_RUN = 3
# Full scale is no limit to floating-point samples: there a run is flattened if it is flat, to this share.
_FLAT = 1e-6


def loudness(samples: Waveform, sample_rate: int) -> float:
    """Return the integrated loudness in LUFS (BS.1770-4), −inf for digital silence.

    A recording shorter than one gating block counts as one block.
    """
    import pyloudnorm  # a third of a second of scipy: loaded by those who measure

    if samples.shape[1] > _MOST_CHANNELS:
        samples = samples.mean(axis=1, keepdims=True)
    # Half a sample less: the meter compares with block · rate, which may round up.
    block = min(GATE_SECONDS, (len(samples) - 0.5) / sample_rate)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")  # the meter warns of what silence does to a logarithm
        measured = float(pyloudnorm.Meter(sample_rate, block_size=block).integrated_loudness(samples))
    return -math.inf if math.isnan(measured) else measured


def peak(samples: Waveform) -> float:
    """Return the largest absolute sample."""
    return float(np.abs(samples).max())


def decibels(amplitude: float) -> float:
    """Return an amplitude in dB relative to full scale."""
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


def clipped_samples(samples: Waveform, *, beyond_full_scale: bool = False) -> int:
    """Return how many samples lie in runs of three or more at full scale, over all channels.

    Args:
        beyond_full_scale: whether the recording's format has samples beyond full scale, where only a run of
            equal ones was cut off.
    """
    full = np.abs(samples) >= _FULL_SCALE
    if not full.any():
        return 0
    run = full[: 1 - _CLIPPED_RUN].copy()
    for offset in range(1, _CLIPPED_RUN):
        others = slice(offset, len(full) + 1 - _CLIPPED_RUN + offset)
        run &= full[others]
        if beyond_full_scale:
            first = samples[: 1 - _CLIPPED_RUN]
            run &= np.abs(samples[others] - first) <= _FLAT * np.abs(first)
    inside = np.zeros_like(full)
    for offset in range(_CLIPPED_RUN):
        inside[offset : len(full) + 1 - _CLIPPED_RUN + offset] |= run
    return int(inside.sum())


def outline(samples: Waveform, points: int) -> list[float]:
    """Return the peak of each of `points` equal parts of the recording, 0 … 1, for a sparkline."""
    strongest = np.abs(samples).max(axis=1)
    points = min(points, len(strongest))
    edges = np.linspace(0, len(strongest), points, endpoint=False).astype(int)
    return [min(float(value), 1.0) for value in np.maximum.reduceat(strongest, edges)]
