"""What `fishtune pack` says about the shards it wrote, beside them in `fishtune-pack.json`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ValidationError

MANIFEST_FILE = "fishtune-pack.json"


class DropReason(StrEnum):
    """Why a clip is not packed."""

    EXCLUDED = "left out by choice"
    NO_CODES = "no codes"
    STALE_CODES = "codes older than the recording"
    DAMAGED_CODES = "codes damaged"
    OTHER_CODEC = "another number of codebooks"
    SEVERAL_RECORDINGS = "several recordings of one name"
    NO_TEXT = "no transcript"
    UNREADABLE_TEXT = "transcript unreadable"
    EMPTY_TEXT = "transcript empty"


class Dropped(BaseModel):
    """A clip that is not in the shards."""

    clip: str
    """`SPEAKER/NAME`."""
    reason: DropReason
    what: str
    what_to_do: str = ""


class SpeakerTotals(BaseModel):
    """What of a speaker is in the shards."""

    speaker: str
    sentences: int
    dropped: int
    frames: int


class Histogram(BaseModel):
    """Counts between edges: `counts[i]` values lie in `edges[i]` (included) to `edges[i + 1]`."""

    edges: list[int]
    counts: list[int]


class PackResult(BaseModel):
    """Result of `fishtune pack`. `sentences` and the dropped clips add up to `clips`."""

    output: Path
    clips: int
    sentences: int
    dropped: list[Dropped]
    speakers: list[SpeakerTotals]
    shards: int
    bytes: int
    codebooks: int
    frames: int
    columns: Histogram
    """Columns of the token matrix a clip, at most: frames, a token for each byte of text, and markers."""


class Manifest(BaseModel):
    """`fishtune-pack.json`: marks the folder as ours, names the clips, and says what they were made from."""

    format: int = 1
    shards: dict[str, int]
    """Bytes of every shard."""
    clips: list[str]
    """`SPEAKER/NAME` of every sentence, in order."""
    source: str
    result: PackResult


def read_manifest(folder: Path) -> Manifest | None:
    """Return what is said about the shards in `folder`, or None if `fishtune pack` did not write them."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
