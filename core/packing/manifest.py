"""What `fishtune pack` says about the shards it wrote, beside them in `fishtune-pack.json`.

Opens no array library: the wizard asks here whether a packed data set is up to date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ..dataset.layout import Clip, scan
from ..settings import PackSettings

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
    TOKENS_IN_TEXT = "transcript with control tokens"


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


def is_current(settings: PackSettings) -> bool:
    """Return whether the output was packed from the present files of the input with these settings.

    Raises:
        DataError: the input cannot be listed.
    """
    manifest = read_manifest(settings.output)
    if manifest is None:
        return False
    present = {name: _size(settings.output / name) for name in manifest.shards}
    clips = scan(settings.input, settings.text_extension).clips
    return present == manifest.shards and manifest.source == source_of(settings, clips)


def source_of(settings: PackSettings, clips: Sequence[Clip]) -> str:
    """Return a hash of everything that decides what is packed: settings, names, sizes and times of files."""
    digest = hashlib.blake2b(digest_size=16)
    choice = (settings.text_extension, settings.shard_size, sorted(settings.exclude))
    digest.update(repr(choice).encode())
    for clip in clips:
        states = [_state(path) for path in (clip.text, clip.codes, *clip.audio)]
        digest.update(repr((clip.key, states)).encode())
    return digest.hexdigest()


def _state(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _size(path: Path) -> int:
    state = _state(path)
    return state[0] if state else -1
