"""What a recording must keep to, so that every stage takes it: what the published codec covers.

Extraction asks the codec that it has; checks that are made without one ask here (formats.md section 4).
"""

from __future__ import annotations

from pathlib import Path

from ..audio.recordings import AudioInfo
from ..audio.resampling import check_rate
from ..errors import DataError
from ..units import format_duration
from .config import CODEC_RATE, FRAME_LENGTH, LONGEST_SECONDS, MAX_FRAMES

LONGEST_SAMPLES = MAX_FRAMES * FRAME_LENGTH
"""At the codec's rate."""


def is_too_long(frames: int, sample_rate: int) -> bool:
    """Return whether so many samples per channel at a rate (Hz) are more than the codec takes."""
    return -(-frames * CODEC_RATE // sample_rate) > LONGEST_SAMPLES


def check_recording(path: Path, info: AudioInfo) -> None:
    """Refuse a recording that the codec would not take.

    Raises:
        DataError: it is too long, or its rate cannot be brought to the codec's.
    """
    if is_too_long(info.frames, info.sample_rate):
        raise DataError(
            "{file} is {duration} long; the codec takes {limit:.0f} s.",
            "Split it at pauses into clips of 3 to 15 s, each with its own transcript.",
            file=path,
            duration=format_duration(info.seconds),
            limit=LONGEST_SECONDS,
        )
    check_rate(path, info.sample_rate, CODEC_RATE)
