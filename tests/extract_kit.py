"""What tests of extraction share: the golden codec, and recordings that it gives varied codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

CODEC = Path(__file__).parent / "golden/base/codec.pth"
SIZES = [64] + 9 * [32]
"""Entries of each of the golden codec's codebooks."""


def noise(seconds: float, seed: int, rate: int = 44_100) -> np.ndarray:
    """Return noise of changing loudness: random weights answer it with varied codes."""
    generator = np.random.default_rng(seed)
    samples = generator.normal(size=round(seconds * rate)) * np.linspace(0.02, 0.3, round(seconds * rate))
    return samples.clip(-1, 1).astype(np.float32)


def write_clip(path: Path, seconds: float, seed: int = 0, rate: int = 44_100) -> Path:
    """Write a recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, noise(seconds, seed, rate), rate)
    return path
