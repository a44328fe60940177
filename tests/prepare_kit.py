"""What the tests of preparation share: clips of one voice joined to a long recording, with known pauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from fishtune.core.audio.recordings import read_channels

from .judge_kit import Samples, lj_clips


@dataclass(frozen=True)
class Joined:
    """A recording made of clips."""

    samples: Samples
    rate: int
    spans: tuple[tuple[float, float], ...]
    """Where each clip lies, seconds."""
    texts: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def joined(
    clips: Sequence[Path] | None = None, pauses: tuple[float, float] = (0.3, 1.0), seed: int = 0
) -> Joined:
    """Return clips one after another, with pauses of random lengths before, between and behind them."""
    random = np.random.default_rng(seed)
    parts: list[Samples] = []
    spans: list[tuple[float, float]] = []
    length, rate = 0, 0

    def add(samples: Samples) -> None:
        nonlocal length
        parts.append(samples)
        length += len(samples)

    chosen = clips if clips is not None else lj_clips()
    for clip in chosen:
        channels, rate = read_channels(clip)
        add(np.zeros(round(random.uniform(*pauses) * rate), np.float32))
        begin = length
        add(channels[:, 0])
        spans.append((begin / rate, length / rate))
    add(np.zeros(round(random.uniform(*pauses) * rate), np.float32))
    texts = tuple(clip.with_suffix(".lab").read_text(encoding="utf-8").strip() for clip in chosen)
    return Joined(np.concatenate(parts), rate, tuple(spans), texts)


def noisy(samples: Samples, decibels: float) -> Samples:
    """Return samples with white noise, so much quieter than the speech."""
    power = np.square(samples[samples != 0]).mean() / 10 ** (decibels / 10)
    noise = np.random.default_rng(1).normal(0, np.sqrt(power), len(samples))
    return (samples + noise).astype(np.float32)


def write(path: Path, recording: Joined) -> Path:
    """Write a recording in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, recording.samples, recording.rate)
    return path
