"""How high a voice is and how much it moves: fundamental frequency by swift-f0, whose wheel carries its
network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..audio.mixing import Waveform
from .extra import require
from .results import Pitch

if TYPE_CHECKING:
    from swift_f0 import SwiftF0

SAMPLE_RATE = 16_000
"""Hz."""
LOWEST, HIGHEST = 60.0, 600.0
"""Hz; of speaking voices, children's included."""
_VOICED = 0.6
"""Confidence from which a frame counts as voiced."""
_SHORTEST = 0.3
"""Seconds of voiced speech that a median needs."""
_FRAME_SECONDS = 256 / SAMPLE_RATE
Contour = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PitchMeter:
    """Measures pitch."""

    network: SwiftF0

    @classmethod
    def load(cls, threads: int = 1) -> PitchMeter:
        """Return the meter.

        Raises:
            UsageError: swift-f0 is not installed.
        """
        require("Pitch", "swift_f0")
        from swift_f0 import SwiftF0

        return cls(SwiftF0(threads=threads, spin=False))

    def measure(self, samples: Waveform) -> Pitch | None:
        """Return the pitch of mono samples at `SAMPLE_RATE`; None where hardly anything is voiced."""
        contour = self.contour(samples)
        voiced = contour[contour > 0]
        if len(voiced) * _FRAME_SECONDS < _SHORTEST:
            return None
        low, median, high = np.percentile(voiced, (10, 50, 90))
        return Pitch(median=float(median), spread=semitones(float(low), float(high)))

    def contour(self, samples: Waveform) -> Contour:
        """Return Hz for each 16 ms of mono samples at `SAMPLE_RATE`; 0 where nothing is voiced."""
        if not len(samples):
            return np.zeros(0, dtype=np.float32)
        found = self.network.detect(samples, SAMPLE_RATE, LOWEST, HIGHEST)
        return np.where(found.confidence >= _VOICED, found.pitch_hz, 0).astype(np.float32)


def semitones(low: float, high: float) -> float:
    """Return how many semitones `high` lies above `low` (both Hz)."""
    return float(12 * np.log2(high / low))
