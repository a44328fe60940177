"""From one sample rate to another, by torchaudio; torch is imported only then."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .mixing import Waveform

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

# Elements of the resampling kernel that torchaudio may make, 4 MiB: ordinary rates need a hundredth of it.
# Odder ones are interpolated directly, and those that have next to nothing in common are refused.
_PREPARED_KERNEL, _LARGEST_KERNEL = 1 << 20, 1 << 26
_STEP = 1 << 16  # elements of weights at a time


def check_rate(path: Path, rate: int, target: int) -> None:
    """Refuse a recording whose rate cannot be brought to `target` (both Hz).

    Raises:
        DataError: the two have too little in common.
    """
    divisor = math.gcd(rate, target)
    if (rate // divisor) * (target // divisor) > _LARGEST_KERNEL:
        raise DataError(
            "{file} has a sample rate, {rate} Hz, that cannot be brought to {target} Hz.",
            "Convert it first, for example: ffmpeg -i '{file}' -ar {target} converted.wav",
            file=path,
            rate=rate,
            target=target,
        )


def resample(samples: Waveform, source_rate: int, target_rate: int) -> Waveform:
    """Return mono samples at another rate (both Hz, and passed by `check_rate`)."""
    if source_rate == target_rate:
        return samples
    divisor = math.gcd(source_rate, target_rate)
    if (source_rate // divisor) * (target_rate // divisor) > _PREPARED_KERNEL:
        return _interpolate(samples, source_rate, target_rate)
    import torch

    with torch.inference_mode():
        resampled: Waveform = _resampler(source_rate, target_rate)(torch.from_numpy(samples)).numpy()
    return resampled


def _interpolate(samples: Waveform, source_rate: int, target_rate: int) -> Waveform:
    """Return what torchaudio's `Resample` would, without a kernel for each of thousands of phases.

    Its default filter: a sinc of 0.99 times the lower band, under a Hann window of six zero crossings a side.
    """
    crossings, band = 6, 0.99 * min(source_rate, target_rate) / source_rate
    half = math.ceil(crossings / band)
    taps = np.arange(-half, half + 2)
    padded = np.pad(samples, (half, half + 2))
    resampled = np.empty(-(-len(samples) * target_rate // source_rate), np.float32)
    step = max(_STEP // len(taps), 1)
    for begin in range(0, len(resampled), step):
        places = np.arange(begin, min(begin + step, len(resampled)), dtype=np.int64) * source_rate
        whole, rest = np.divmod(places, target_rate)
        distance = ((taps - (rest / target_rate)[:, None]) * band).clip(-crossings, crossings)
        weights = np.sinc(distance) * np.cos(distance * (np.pi / 2 / crossings)) ** 2 * band
        near = padded[whole[:, None] + (taps + half)]
        resampled[begin : begin + step] = (near * weights).sum(axis=1)
    return resampled


@functools.lru_cache(maxsize=16)
def _resampler(source_rate: int, target_rate: int) -> Resample:
    """Return the resampler of a pair of rates; making its kernel takes longer than using it once."""
    from torchaudio.transforms import Resample

    return Resample(source_rate, target_rate)
