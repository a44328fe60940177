"""Checks one recording for what the codec will get of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

from ...audio.levels import NEAR_SILENCE, clipped_samples, loudness
from ...audio.mixing import Mixing, Mono, mix
from ...audio.recordings import read_channels, read_info
from ...audio.resampling import check_rate
from ...codec.config import CODEC_RATE, LONGEST_SECONDS
from ...codec.limits import is_too_long
from ...dataset.findings import Finding, FindingKind, error, warning
from ...messages import Message
from ...terminal import shell_quoted
from ...units import format_duration

LOWEST_SAMPLE_RATE = 16_000
_CLIPPED_SAMPLES = 10


@dataclass(slots=True)
class CheckedAudio:
    """What checking a recording gave."""

    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    loudness: float | None = None
    """LUFS of the mono mix; None for silence."""
    digest: bytes = b""
    """Of the samples."""


def check_audio(path: Path) -> CheckedAudio:
    """Return what there is of a recording, and what is doubtful about it.

    Raises:
        DataError: it cannot be used.
        StorageError: the system refused to read it.
    """
    checked = CheckedAudio()
    info = read_info(path)
    check_rate(path, info.sample_rate, CODEC_RATE)
    if is_too_long(info.frames, info.sample_rate):
        checked.findings.append(_too_long(path, info.seconds))
        return checked
    samples, rate = read_channels(path)
    if is_too_long(len(samples), rate):
        checked.findings.append(_too_long(path, len(samples) / rate))
        return checked
    checked.seconds = len(samples) / rate
    checked.digest = hashlib.blake2b(samples.tobytes(), digest_size=16).digest()
    mono = mix(samples, rate)
    level = loudness(mono.samples[:, None], rate)
    if rate < LOWEST_SAMPLE_RATE:
        checked.findings.append(
            warning(
                FindingKind.SAMPLE_RATE_LOW,
                path,
                "{file} has a sample rate of {rate} Hz: what is above {highest} Hz is missing.",
                "Use a better source if there is one; 24,000 Hz or more is good.",
                file=path.name,
                rate=rate,
                highest=rate // 2,
            )
        )
    clipped = clipped_samples(
        samples[:, list(mono.channels)], beyond_full_scale=info.encoding in ("FLOAT", "DOUBLE")
    )
    if clipped >= _CLIPPED_SAMPLES:
        checked.findings.append(
            warning(
                FindingKind.CLIPPING,
                path,
                "{file} is clipped: {number} samples are cut off at full scale.",
                "Record it again at a lower level, or leave it out: the voice learns the distortion.",
                file=path.name,
                number=clipped,
            )
        )
    if level <= NEAR_SILENCE:
        checked.findings.append(
            warning(
                FindingKind.NEAR_SILENCE,
                path,
                "{file} is nearly silent ({level}).",
                "Listen to it; leave it out if nothing is said.",
                file=path.name,
                level=_level(level),
            )
        )
    else:
        checked.loudness = level
        checked.findings += _channels(path, mono, samples.shape[1])
    return checked


def _too_long(path: Path, seconds: float) -> Finding:
    return error(
        FindingKind.AUDIO_TOO_LONG,
        path,
        "{file} is {duration} long; the codec takes {limit:.0f} s.",
        "Cut it in its pauses, into clips with transcripts: fishtune prepare {folder} OUT",
        file=path.name,
        duration=format_duration(seconds),
        limit=LONGEST_SECONDS,
        folder=shell_quoted(path.parent),
    )


def _channels(path: Path, mono: Mono, channels: int) -> list[Finding]:
    match mono.mixing:
        case Mixing.ONE_SIDED:
            return [
                warning(
                    FindingKind.ONE_SIDED,
                    path,
                    "{file} has its voice on {number} of {channels} channels; the others are left out.",
                    "Nothing, if it sounds well; otherwise export it as mono.",
                    file=path.name,
                    number=len(mono.channels),
                    channels=channels,
                )
            ]
        case Mixing.OPPOSITE_PHASE:
            return [
                warning(
                    FindingKind.OPPOSITE_PHASE,
                    path,
                    "The channels of {file} cancel each other (opposite phase); only channel {channel} "
                    "is used.",
                    "Nothing, if it sounds well; otherwise export the better channel as mono.",
                    file=path.name,
                    channel=mono.channels[0] + 1,
                )
            ]
    return []


def _level(value: float) -> str:
    return (
        Message("{loudness:.1f} LUFS", loudness=value) if math.isfinite(value) else Message("digital silence")
    )
