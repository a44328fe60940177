"""What may be wrong with speech: the kinds, and one found thing. Imports no torch."""

from __future__ import annotations

from enum import StrEnum

from ..data_model import DataModel
from ..messages import Message


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


class SpeechFault(DataModel):
    """One thing that is wrong, in a sentence with its numbers."""

    kind: SpeechFaultKind
    message: Message
