"""Recordings: what their headers say, their samples as mono float32 at a rate that is asked for; writing.

libsndfile reads mp3, wav and flac; torchaudio resamples, and torch is imported only then.
"""

from __future__ import annotations

import errno
import functools
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile

from .errors import DataError
from .files import write_bytes

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

Waveform = npt.NDArray[np.float32]

# A decoder's delay may cost a recording its last moment; more than this is missing data.
_TOLERATED_LOSS_SECONDS = 0.1
# libsndfile's log of a wav: "data : 264600 (should be 132278)", stated and present bytes.
_WAV_DATA = re.compile(r"^data *: *(\d+) \(should be (\d+)\)", re.MULTILINE)
# Recorders that write to a pipe state 2 GiB or more, not knowing the length.
_UNKNOWN_LENGTH = 1 << 30
# Elements of the resampling kernel: 256 MiB. Ordinary rates need less than a thousandth of it.
_LARGEST_KERNEL = 1 << 26


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a recording's header says."""

    frames: int
    """Samples a channel."""
    sample_rate: int
    """Hz."""
    channels: int

    @property
    def seconds(self) -> float:
        """Length, seconds."""
        return self.frames / self.sample_rate


def read_info(path: Path) -> AudioInfo:
    """Return what the header of a recording says, without decoding it.

    Raises:
        DataError: missing, unreadable, empty, no audio, or a wav shorter than its header says.
    """
    with _opened(path) as file:
        return _checked_info(file, path)


def read_audio(path: Path, sample_rate: int) -> Waveform:
    """Return the samples of a recording, channels averaged, resampled to `sample_rate` (Hz).

    Raises:
        DataError: see `read_channels`, or a rate that cannot be resampled.
    """
    samples, own_rate = read_channels(path)
    mono: Waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    return mono if own_rate == sample_rate else _resample(mono, own_rate, sample_rate, path)


def read_channels(path: Path) -> tuple[Waveform, int]:
    """Return the samples of a recording as they are, `(samples, channels)`, and its rate in Hz.

    Raises:
        DataError: missing, unreadable, empty, no audio, truncated, or with samples that are no numbers.
    """
    with _opened(path) as file:
        info = _checked_info(file, path)
        samples: Waveform = file.read(dtype="float32", always_2d=True)
    if info.frames - len(samples) > _TOLERATED_LOSS_SECONDS * info.sample_rate:
        raise _truncated(path, len(samples) / info.sample_rate, info.seconds)
    if not np.isfinite(samples).all():
        raise DataError(
            f"{path} has samples that are not numbers (NaN or infinite).", "Export the recording again."
        )
    return samples, info.sample_rate


def write_audio(path: Path, samples: Waveform, sample_rate: int, audio_format: str = "WAV") -> None:
    """Write mono samples (−1 … 1) as a recording, atomically.

    Args:
        audio_format: one of `soundfile.available_formats()`.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    # libsndfile calls a full disk and missing rights alike "System error": the file is written by us.
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate, format=audio_format)
    write_bytes(path, encoded.getvalue())


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Yield the open recording; libsndfile's vague messages become ones that say what is the matter."""
    try:
        # libsndfile calls a folder, a missing file and one without rights alike "System error".
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise DataError(*_system_error(path, error)) from error
    if empty:
        raise DataError(f"{path} is empty (0 bytes).", "Copy or record it again, or remove it.")
    try:
        with soundfile.SoundFile(path) as opened:
            yield opened
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"{path} cannot be read as audio: it is damaged, or not what its name says.",
            "Listen to it in a player; copy or export it again as wav, flac or mp3, or remove it.",
        ) from error


def _system_error(path: Path, error: OSError) -> tuple[str, str]:
    match error.errno:
        case errno.ENOENT:
            return f"{path} does not exist.", "It may have been moved since the folder was listed; try again."
        case errno.EISDIR:
            return f"{path} is a folder, though it is named like a recording.", "Rename or remove it."
        case errno.EACCES | errno.EPERM:
            return f"{path} cannot be read: no permission.", f"Change its permissions: chmod u+r '{path}'"
        case _:
            return f"{path} cannot be read: {error.strerror}.", "Check the disk it lies on."


def _checked_info(file: soundfile.SoundFile, path: Path) -> AudioInfo:
    info = AudioInfo(file.frames, file.samplerate, file.channels)
    if info.frames == 0:
        raise DataError(f"{path} contains no audio.", "Record it again, or remove it.")
    stated = _WAV_DATA.search(file.extra_info)
    if stated is not None and int(stated[2]) < int(stated[1]) < _UNKNOWN_LENGTH:
        raise _truncated(path, info.seconds, info.seconds * int(stated[1]) / int(stated[2]))
    return info


def _truncated(path: Path, present: float, stated: float) -> DataError:
    return DataError(
        f"{path} is truncated: {present:.1f} s of {stated:.1f} s are there.",
        "Copy it again from where it came, or cut the transcript to what is left.",
    )


def _resample(samples: Waveform, source_rate: int, target_rate: int, path: Path) -> Waveform:
    divisor = math.gcd(source_rate, target_rate)
    if (source_rate // divisor) * (target_rate // divisor) > _LARGEST_KERNEL:
        raise DataError(
            f"{path} has a sample rate, {source_rate} Hz, that cannot be brought to {target_rate} Hz.",
            f"Convert it first, for example: ffmpeg -i '{path}' -ar {target_rate} converted.wav",
        )
    import torch

    with torch.inference_mode():
        resampled: Waveform = _resampler(source_rate, target_rate)(torch.from_numpy(samples)).numpy()
    return resampled


@functools.lru_cache(maxsize=16)
def _resampler(source_rate: int, target_rate: int) -> Resample:
    """Return the resampler of a pair of rates; making its kernel takes longer than using it once."""
    from torchaudio.transforms import Resample

    return Resample(source_rate, target_rate)
