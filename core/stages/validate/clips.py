"""Checks one clip by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...dataset.clips import Clip
from ...dataset.codes import read_codes
from ...dataset.findings import Finding, FindingKind, error
from ...dataset.origins import is_stale, origin_of
from ...dataset.usage import REASON_OF, DropReason
from ...errors import DataError, StorageError
from .recordings import CheckedAudio, check_audio
from .transcripts import CheckedTranscript, check_transcript


class CheckedClip(NamedTuple):
    """What checking a clip by itself gave; what it lacks has no findings."""

    transcript: CheckedTranscript
    audio: CheckedAudio
    dropped: DropReason | None
    """Why it will not be used; None = it will."""


@dataclass(slots=True)
class Checked:
    """What checking one clip by itself gave."""

    clip: Clip
    findings: list[Finding]
    letters: int
    syllables: int
    """Those of the letters that are whole syllables."""
    text: str
    seconds: float
    loudness: float | None
    digest: bytes
    dropped: DropReason | None

    @classmethod
    def of(cls, clip: Clip, found: CheckedClip) -> Checked:
        """Join a clip and what was found of it."""
        text, audio, dropped = found
        return cls(
            clip,
            findings=text.findings + audio.findings,
            letters=text.letters,
            syllables=text.syllables,
            text=text.text,
            seconds=audio.seconds,
            loudness=audio.loudness,
            digest=audio.digest,
            dropped=dropped,
        )

    @property
    def audio(self) -> Path:
        """Its recording."""
        return self.clip.audio[0]


def check_clip(clip: Clip) -> CheckedClip:
    """Return what checking a clip's transcript and its recording gave."""
    transcript = CheckedTranscript([]) if (text := clip.text) is None else check_transcript(text)
    audio = CheckedAudio()
    if len(recordings := clip.audio) == 1:
        recording = recordings[0]
        try:
            audio = check_audio(recording)
        except (DataError, StorageError) as failure:
            code = FindingKind.AUDIO_EMPTY if _is_empty(recording) else FindingKind.AUDIO_UNREADABLE
            audio.findings.append(error(code, recording, failure.message, failure.hint))
    return CheckedClip(transcript, audio, _why_not(clip, transcript, audio))


def _why_not(clip: Clip, transcript: CheckedTranscript, audio: CheckedAudio) -> DropReason | None:
    """Return why a clip will not be used, in the order in which packing looks: words first, then codes."""
    if clip.text_file is None:
        return DropReason.NO_TEXT
    for found in transcript.findings:
        if found.code in REASON_OF:
            return REASON_OF[found.code]
    if len(clip.audio_files) > 1:
        return DropReason.SEVERAL_RECORDINGS
    if clip.is_blocked:
        return DropReason.NO_CODES
    if audio.seconds or (clip.codes is not None and _suffice(clip.codes, clip)):
        return None
    if not clip.audio_files:
        return DropReason.NO_RECORDING if clip.codes_file is None else DropReason.DAMAGED_CODES
    return next(REASON_OF[found.code] for found in audio.findings if found.code in REASON_OF)


def _suffice(codes: Path, clip: Clip) -> bool:
    """Whether codes that are there already can be used though the recording cannot."""
    try:
        read_codes(codes)
        return not clip.audio or not is_stale(clip.audio[0], codes, origin_of(codes))
    except (DataError, StorageError):
        return False


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:  # what cannot be looked at was found to be unreadable
        return False
