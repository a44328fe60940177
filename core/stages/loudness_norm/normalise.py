"""One recording at another loudness: measured, brought to it by one gain, and encoded as it was.

Loudness is that of the mono mix, as this is what the codec gets (`mixing.py`). The channels stay as they are,
all by one factor, and peaks are those of the channels: a copy is mixed just as its source would be.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ...audio.levels import NEAR_SILENCE, decibels, loudness, peak
from ...audio.mixing import Mixing, Waveform, mix
from ...audio.recordings import AudioInfo, read_channels, read_info
from ...codec.limits import check_recording
from ...errors import DataError
from ...reading import open_regular, reading

# What libsndfile keeps of a sample; anything coarser would add noise of its own.
_FINE_SUBTYPES = {"PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "MPEG_LAYER_III"}
# What is written where a container or its sample format can only be read, by the file's ending.
_WRITTEN = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".mp3": ("MP3", "MPEG_LAYER_III")}
_ENCODER_ROUNDS = 6
_PEAK_TOLERANCE = 0.05  # dB
_LOUDNESS_TOLERANCE = 0.1  # LU


@dataclass(frozen=True, slots=True)
class Made:
    """The content of a file to write."""

    content: bytes
    is_quieter: bool = False
    """Whether its peaks kept it below the loudness."""
    is_silent: bool = False
    mixing: Mixing = Mixing.MEAN


def read_content(path: Path) -> bytes:
    """Return the content of a file that is copied as it is.

    Raises:
        DataError: there is no such file, or it is not a regular one.
        StorageError: the system refused to read it.
    """
    with open_regular(path) as file, reading(path):
        return file.read()


def normalised(path: Path, loudness_target: float, peak_limit: float) -> Made:
    """Return a recording at a loudness (LUFS), its peaks below a limit (dBFS).

    Raises:
        DataError: it cannot be read, or extraction would not take it.
        StorageError: the system refused to read it.
    """
    info = read_info(path)
    check_recording(path, info)
    samples, rate = read_channels(path)
    level, mixing = _level(samples, rate)
    if level <= NEAR_SILENCE:
        return Made(read_content(path), is_silent=True)
    # Two limits on the gain: what the loudness asks for, and what the peaks allow.
    wanted, allowed = loudness_target - level, peak_limit - decibels(peak(samples))
    for _ in range(_ENCODER_ROUNDS):
        gain = min(wanted, allowed)
        encoded = _encode(path, samples * np.float32(10.0 ** (gain / 20)), rate, info)
        # A lossy encoder moves loudness and peaks by up to half a decibel; others are right at once.
        made, _ = soundfile.read(io.BytesIO(encoded), dtype="float32", always_2d=True)
        too_loud = _level(made, rate)[0] - (level + gain)
        too_high = decibels(peak(made)) - peak_limit
        if abs(too_loud) < _LOUDNESS_TOLERANCE and too_high < _PEAK_TOLERANCE:
            break
        level += too_loud
        wanted = loudness_target - level
        allowed = gain - too_high
    return Made(encoded, is_quieter=allowed < wanted - _LOUDNESS_TOLERANCE, mixing=mixing)


def _level(samples: Waveform, rate: int) -> tuple[float, Mixing]:
    """Return the loudness of what the codec gets of a recording, and how that is mixed."""
    mono = mix(samples, rate)
    return loudness(mono.samples[:, None], rate), mono.mixing


def _encode(path: Path, samples: Waveform, rate: int, info: AudioInfo) -> bytes:
    """Return samples in the container and sample format of the recording `path`, or those of its name."""
    subtype = info.encoding if info.encoding in _FINE_SUBTYPES else "PCM_16"
    container = info.container
    if not soundfile.check_format(container, subtype):
        container, subtype = _WRITTEN[path.suffix.lower()]
    quality = {"compression_level": 0.0, "bitrate_mode": "VARIABLE"} if container == "MP3" else {}
    # Encoded in memory: a full disk is then met by a plain write, which says so.
    encoded = io.BytesIO()
    try:
        soundfile.write(encoded, samples, rate, subtype, format=container, **quality)
    except soundfile.LibsndfileError as error:
        raise DataError(
            "{file} cannot be written again as {format}, with {channels} channels at {rate} Hz.",
            "Convert it first, for example: ffmpeg -i '{file}' -ac 1 -ar 44100 converted.wav",
            file=path,
            format=container,
            channels=samples.shape[1],
            rate=rate,
        ) from error
    return encoded.getvalue()
