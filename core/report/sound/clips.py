"""Recordings as a page holds them: equally loud, as MP3 in a data address, with what is drawn of them.

libsndfile's MP3 says in its header how much the encoder added, so players give back exactly the samples that
went in.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from pydantic import BaseModel

from ...audio.levels import NEAR_SILENCE, decibels, loudness, outline, peak
from ...audio.mixing import Waveform
from ...audio.recordings import read_mono
from ...errors import DataError, FishtuneError
from ...events import ProgressMeter, Reporter
from ...judge import pitch
from ...judge.pitch import PitchMeter
from ...messages import Message, plural

SAMPLE_RATE = 44_100
"""Hz; MP3 has no higher one that every player takes."""
_LOUDNESS = -20.0
"""LUFS; louder than the -23 of broadcasts, as speech alone is heard."""
_QUIETEST = -30.0
"""LUFS; one recording of a few peaks must not make all others this quiet."""
_PEAK = -1.0
"""dBFS; room for what the encoder adds."""
_COMPRESSION = 0.88
"""libsndfile's measure; constant 64 kbit/s for mono at 44.1 kHz."""
BYTES_PER_SECOND = 64_000 / 8 * 4 / 3
"""Of a page, for each second of sound: what that comes to as text (base64)."""
_POINTS_PER_SECOND = 24
_MOST_POINTS = 160
"""Of an outline: what is drawn is about 150 pixels wide."""


class Clip(BaseModel):
    """A recording of the page."""

    src: str
    """MP3 as a data address."""
    seconds: float
    outline: list[int]
    """Peaks of equal parts, percent of full scale."""
    pitch: list[int]
    """Of equal parts, Hz; 0 where nothing is voiced. Empty where nothing could measure it."""


@dataclass(frozen=True)
class Level:
    """How loud a recording is: LUFS, and its peak in dBFS."""

    loudness: float
    peak: float

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing that could be brought to a loudness."""
        return self.loudness <= NEAR_SILENCE


def measure_level(path: Path) -> Level:
    """Return how loud a recording is.

    Raises:
        DataError: it cannot be read.
    """
    samples, _ = read_mono(path, SAMPLE_RATE)
    return Level(loudness(samples[:, None], SAMPLE_RATE), decibels(peak(samples[:, None])))


def common_loudness(levels: Sequence[Level]) -> float:
    """Return the loudness (LUFS) that all recordings can have without being cut off."""
    reachable = [level.loudness + _PEAK - level.peak for level in levels if not level.is_silent]
    return max(_QUIETEST, min([_LOUDNESS, *reachable]))


def make_clips(
    paths: Sequence[Path], reporter: Reporter, meter: PitchMeter | None, advice: Message
) -> list[tuple[Path, Clip]]:
    """Return the recordings that can be read, equally loud; others are named in a warning.

    Args:
        meter: measures their pitch; None draws none.
        advice: what to do about recordings that cannot be read.

    Raises:
        StopRequested: asked to stop.
    """
    levels = {}
    unread: list[FishtuneError] = []
    measuring = ProgressMeter(reporter, Message("measuring loudness"), len(paths), "recordings")
    for path in paths:
        reporter.check_stop()
        try:
            levels[path] = measure_level(path)
        except DataError as error:
            unread.append(error)
        measuring.advance()
    if unread:
        reporter.warn(
            plural(
                len(unread),
                "{number} recording is left out: {reason}",
                "{number} recordings are left out, the first: {reason}",
                reason=unread[0].message,
            ),
            advice,
        )
    target = common_loudness(list(levels.values()))
    progress = ProgressMeter(reporter, Message("making the page"), len(levels), "recordings")
    clips = []
    for path, level in levels.items():
        reporter.check_stop()
        clips.append((path, make_clip(path, level, target, meter)))
        progress.advance()
    return clips


def make_clip(path: Path, level: Level, target: float, meter: PitchMeter | None) -> Clip:
    """Return a recording brought to a loudness.

    Args:
        target: LUFS. Recordings whose peaks do not allow it stay below, silence stays as it is.

    Raises:
        DataError: it cannot be read.
    """
    samples, _ = read_mono(path, SAMPLE_RATE)
    gain = 0.0 if level.is_silent else min(target - level.loudness, _PEAK - level.peak)
    samples = np.asarray(samples * 10 ** (gain / 20), dtype=np.float32)
    points = min(_MOST_POINTS, max(1, math.ceil(len(samples) / SAMPLE_RATE * _POINTS_PER_SECOND)))
    return Clip(
        src=f"data:audio/mpeg;base64,{base64.b64encode(_mp3(samples)).decode()}",
        seconds=len(samples) / SAMPLE_RATE,
        outline=[round(100 * value) for value in outline(samples[:, None], points)],
        pitch=_pitch(path, meter, points),
    )


def _mp3(samples: Waveform) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file,
        samples,
        SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=_COMPRESSION,
    )
    return file.getvalue()


def _pitch(path: Path, meter: PitchMeter | None, points: int) -> list[int]:
    if meter is None:
        return []
    samples, _ = read_mono(path, pitch.SAMPLE_RATE)
    contour = meter.contour(samples)
    return [
        round(float(np.median(part[part > 0]))) if (part > 0).any() else 0
        for part in np.array_split(contour, points)
    ]
