"""The record of a prepared data set, `prepare.json`: where clips come from, and how sure their words are."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import DataError, MalformedFileError
from ..files import write_text
from ..tables import read_json
from .edits import Edit

RECORD_FILE = "prepare.json"
"""In the data set's folder."""
_LARGEST = 1 << 30
"""Bytes; 100 hours take a tenth of it."""
DOUBTFUL = 0.5
"""Probability below which a word or a transcript is doubtful."""
_DOUBTED = 3
"""Words that decide how sure a transcript is."""


class WordsFrom(StrEnum):
    """Where a transcript came from."""

    HEARD = "heard"
    """Recognition."""
    TEXT = "text"
    """A text of the whole recording, shared out by recognition."""
    CAPTIONS = "captions"
    """Subtitles or another text with times."""
    GIVEN = "given"
    """The transcript that the recording already had."""


class PreparedWord(BaseModel):
    """One word as recognition heard it."""

    model_config = ConfigDict(frozen=True)

    text: str
    start: float
    """Seconds from the beginning of the clip."""
    end: float
    probability: float
    """0 … 1: how sure recognition was."""

    @property
    def is_doubtful(self) -> bool:
        """Whether it is to be marked where somebody reads along."""
        return self.probability < DOUBTFUL


class PreparedClip(BaseModel):
    """One clip."""

    model_config = ConfigDict(frozen=True)

    clip: str
    """`SPEAKER/NAME`."""
    start: float
    """Where it begins in its recording, seconds."""
    end: float
    text: str
    origin: WordsFrom
    score: float | None = None
    """0 … 1: how sure the transcript is; None where nothing heard it."""
    words: tuple[PreparedWord, ...] = ()
    """What was heard; nothing where recognition was not needed."""


class PreparedRecording(BaseModel):
    """What became of one recording."""

    model_config = ConfigDict(frozen=True)

    source: str
    """Path in the folder of recordings, with `/`."""
    digest: str
    """`content_digest` of the recording."""
    seconds: float
    language: str = ""
    """Two letters; "" where nothing was recognised."""
    model: str = ""
    """What recognised it."""
    clips: tuple[PreparedClip, ...] = ()
    other_voices: int = 0
    """Clips that sound like another voice than most."""
    left_out: int = 0
    """Clips left out: of another voice than the one to be kept, or without words."""
    without_pause: int = 0
    """Stretches of speech without a pause, too long for a clip."""


class PreparedData(BaseModel):
    """The record, recordings sorted by their path."""

    version: int = 1
    recordings: tuple[PreparedRecording, ...] = ()
    adopted: tuple[PreparedClip, ...] = ()
    """Clips that were in the data set before, as they were when the first of them was edited."""
    edits: tuple[Edit, ...] = ()
    """Corrections, in order."""
    unsettled: tuple[str, ...] = ()
    """Clips whose files an edit that was interrupted may not have brought in line."""

    @property
    def made(self) -> list[PreparedClip]:
        """All clips as they were made, sorted by name."""
        prepared = (clip for recording in self.recordings for clip in recording.clips)
        return sorted((*prepared, *self.adopted), key=lambda clip: clip.clip)

    def with_recordings(self, added: Iterable[PreparedRecording]) -> PreparedData:
        """Return the record with recordings added, or put in the places of those of the same paths."""
        known = {recording.source: recording for recording in (*self.recordings, *added)}
        ordered = sorted(known.values(), key=lambda recording: recording.source)
        return self.model_copy(update={"recordings": tuple(ordered)})

    def without(self, sources: set[str]) -> PreparedData:
        """Return the record without some recordings."""
        kept = tuple(known for known in self.recordings if known.source not in sources)
        return self.model_copy(update={"recordings": kept})


def certainty(words: tuple[PreparedWord, ...]) -> float | None:
    """Return how sure a transcript is: the mean probability of its least sure words; None without words.

    The mean of all would hide one wrong name among twenty plain words.
    """
    doubted = sorted(word.probability for word in words)[:_DOUBTED]
    return round(sum(doubted) / len(doubted), 3) if doubted else None


def read_prepared(data: Path) -> PreparedData | None:
    """Return the record of a data set, None where it has none.

    Raises:
        DataError: the record is damaged.
        StorageError: the system refused to read it.
    """
    file = data / RECORD_FILE
    if not file.exists():
        return None
    try:
        return PreparedData.model_validate(read_json(file, _LARGEST))
    except (MalformedFileError, ValidationError) as error:
        raise DataError(
            "{file} is damaged or was not written by fishtune prepare.",
            "Restore it from a copy; without it every recording is prepared again.",
            file=file,
        ) from error


def write_prepared(data: Path, record: PreparedData) -> None:
    """Write the record of a data set, atomically."""
    write_text(data / RECORD_FILE, record.model_dump_json(exclude_none=True) + "\n")
