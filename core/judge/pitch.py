"""How high a voice is and how much it moves: fundamental frequency by swift-f0, whose wheel carries its
network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel

from ..audio.mixing import Waveform
from .extra import require

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


class Pitch(BaseModel):
    """Pitch of a recording, over its voiced frames."""

    median: float
    """Hz."""
    spread: float
    """Semitones between the 10th and the 90th percentile: about 3 where it is monotonous, 6 to 14 in
    speech."""


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
        if not len(samples):
            return None
        found = self.network.detect(samples, SAMPLE_RATE, LOWEST, HIGHEST)
        voiced = found.pitch_hz[found.confidence >= _VOICED]
        if len(voiced) * _FRAME_SECONDS < _SHORTEST:
            return None
        low, median, high = np.percentile(voiced, (10, 50, 90))
        return Pitch(median=float(median), spread=semitones(float(low), float(high)))


def semitones(low: float, high: float) -> float:
    """Return how many semitones `high` lies above `low` (both Hz)."""
    return float(12 * np.log2(high / low))
