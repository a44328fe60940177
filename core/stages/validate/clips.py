"""Checks one clip by itself."""

from __future__ import annotations

from pathlib import Path

from ...dataset.clips import Clip
from ...dataset.findings import FindingKind, error
from ...errors import DataError, StorageError
from .recordings import CheckedAudio, check_audio
from .transcripts import CheckedTranscript, check_transcript


def check_clip(clip: Clip) -> tuple[CheckedTranscript, CheckedAudio]:
    """Return what checking a clip's transcript and its recording gave; what it lacks has no findings."""
    transcript = CheckedTranscript([]) if clip.text is None else check_transcript(clip.text)
    audio = CheckedAudio()
    if len(clip.audio) == 1:
        try:
            audio = check_audio(clip.audio[0])
        except (DataError, StorageError) as failure:
            code = FindingKind.AUDIO_EMPTY if _is_empty(clip.audio[0]) else FindingKind.AUDIO_UNREADABLE
            audio.findings.append(error(code, clip.audio[0], failure.message, failure.hint))
    return transcript, audio


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:  # what cannot be looked at was found to be unreadable
        return False
