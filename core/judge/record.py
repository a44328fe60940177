"""What an audition finds, where its record lies, and how it is read back. Imports no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..config.run_files import CHECKPOINT_SUFFIX, CHECKPOINTS
from ..errors import FishtuneError
from ..files import write_text
from ..messages import Message, joined
from ..tables import read_json

RECORD_FILE = "audition.json"
_LARGEST = 16 << 20
"""Bytes of a record."""


class SpeechFaultKind(StrEnum):
    """What may be wrong with a generated recording."""

    ENDLESS = "endless"
    """The model did not end by itself."""
    EMPTY = "empty"
    """It ended before the first frame."""
    SILENT = "silent"
    """Mostly silence."""
    FADING = "fading"
    """The energy decays towards the end."""
    SHORT = "short"
    """Much shorter than the text."""
    LONG = "long"
    """Much longer than the text."""
    STUCK = "stuck"
    """One frame is repeated."""
    MISSING_END = "missing-end"
    """The last words are missing."""
    MISSING_WORDS = "missing-words"
    """Words at the beginning or in between are missing."""
    ADDED_WORDS = "added-words"
    """Something is said that is not in the text."""
    LEAKED_REFERENCE = "leaked-reference"
    """Words of the reference are said."""
    REPEATED = "repeated"
    """Words, or a piece of sound, are said again."""
    OTHER_WORDS = "other-words"
    """Much of what is said is something else, or cannot be understood."""
    OTHER_VOICE = "other-voice"
    """It is not the voice of the reference, or of the other recordings."""
    FAST = "fast"
    """Much faster than the voice speaks."""
    SLOW = "slow"
    """Much slower than the voice speaks."""
    OTHER_PITCH = "other-pitch"
    """Much higher or lower than the voice speaks."""
    MONOTONOUS = "monotonous"
    """The pitch hardly moves."""
    PAUSE = "pause"
    """A long silence before, within or after the speech."""
    CLIPPED = "clipped"
    """Samples are cut off at full scale."""
    NOISY = "noisy"
    """Noise fills the pauses, or the background is bad."""


class SpeechFault(BaseModel):
    """One thing that is wrong, in a sentence with its numbers."""

    kind: SpeechFaultKind
    message: Message


class AuditionedText(BaseModel):
    """One sentence as the checkpoint spoke it."""

    text: str
    audio: str
    """Recording, a file in `audition_folder`; empty if nothing was generated."""
    seconds: float
    expected_seconds: float
    """About how long the text takes to say."""
    ended: bool
    """Whether the model ended by itself."""
    findings: list[SpeechFault]


class AuditionResult(BaseModel):
    """How a checkpoint speaks."""

    checkpoint: Path
    checkpoint_modified: float
    """Unix time; an older audition of a newer file does not count."""
    reference: str
    """The utterance whose voice was given, or empty."""
    texts: list[AuditionedText]
    healthy: bool
    """Whether most of the texts are without findings."""
    files: dict[str, Any] = {}
    """What the recordings were when they were written; see `ownership.describe`."""

    @property
    def summary(self) -> Message:
        """What was found, in a few words: "sound", or what is wrong with how many."""
        kinds = [finding.kind for text in self.texts for finding in text.findings]
        if not kinds:
            return Message("sound")
        counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        return joined(
            (
                Message("{kind} {number}/{total}", kind=Message(kind), number=number, total=len(self.texts))
                for kind, number in counted.items()
            ),
            ", ",
        )


def audition_folder(checkpoint: Path) -> Path:
    """Return where the audition of a checkpoint goes.

    `results/NAME/checkpoints/step_….ckpt` → `results/NAME/audition/step_…`; any other path →
    `PATH.audition` beside it.
    """
    own = checkpoint.with_suffix("") if checkpoint.suffix == CHECKPOINT_SUFFIX else checkpoint
    if checkpoint.parent.name == CHECKPOINTS and own.name.startswith("step_"):
        return checkpoint.parent.with_name("audition") / own.name
    return checkpoint.with_name(f"{own.name}.audition")


def write_record(result: AuditionResult, folder: Path) -> None:
    """Write the record into the audition's folder, atomically."""
    write_text(folder / RECORD_FILE, result.model_dump_json(indent=2) + "\n")


def read_audition(checkpoint: Path) -> AuditionResult | None:
    """Return the audition of a checkpoint, or None if there is none or the checkpoint has changed since."""
    result = read_record(audition_folder(checkpoint))
    try:
        return (
            result
            if result is not None and result.checkpoint_modified == checkpoint.stat().st_mtime
            else None
        )
    except OSError:
        return None


def read_record(folder: Path) -> AuditionResult | None:
    """Return what the record in an audition's folder says, or None if there is none that can be read."""
    try:
        return AuditionResult.model_validate(read_json(folder / RECORD_FILE, _LARGEST))
    except (FishtuneError, ValidationError):
        return None
