"""Randomness without state: every choice of training is a function of what it is about.

Which reference a clip gets, in which order an epoch runs and what dropout draws follow from the seed, the
epoch and the clip or micro-batch alone. A resumed run needs no stored generator to draw the same, and it
does not matter which process or data-loading worker draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

UnsignedArray = npt.NDArray[np.uint64]


def hashed(*parts: int | npt.NDArray[Any]) -> UnsignedArray:
    """Return 64 well-mixed bits of `parts`, element by element where parts are arrays (broadcast).

    The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), chained over the parts.
    """
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        bits = np.asarray(part)
        bits = bits.astype(np.uint64) if bits.dtype != np.uint64 else bits
        state = _mix(state ^ _mix(np.atleast_1d(bits)))
    return state


def _mix(state: UnsignedArray) -> UnsignedArray:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(bits: UnsignedArray) -> npt.NDArray[np.float64]:
    """Return numbers in [0, 1) from 64 random bits each."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def seed_of(*parts: int) -> int:
    """Return a generator's seed, below 2⁶³, for what `parts` name."""
    return int(hashed(*parts)[0] >> np.uint64(1))
