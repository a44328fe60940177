"""What `fishtune pack` says about the shards it wrote, beside them in `fishtune-pack.json`.

Opens no array library: the wizard asks here whether a packed data set is up to date.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from ..data_model import DataModel
from ..dataset.clips import SHARD_EXTENSION, Clip, Scan
from ..dataset.findings import Finding
from ..dataset.layout import scan
from ..dataset.usage import DropReason, Usage
from ..errors import MalformedFileError, StorageError, UsageError
from ..files import write_text
from ..messages import AS_DATA, NOTHING, Message
from ..reading import StrPath
from ..tables import read_json

if TYPE_CHECKING:  # a worker process of packing starts without all settings
    from ..config.settings import PackSettings

MANIFEST_FILE = "fishtune-pack.json"
INDEX_FILE = "fishtune-index.bin"
LENGTHS_FILE = "fishtune-lengths.npy"
CACHE_FILES = (INDEX_FILE, LENGTHS_FILE)
"""What is computed from shards and kept beside them; it may go with them."""
_FORMAT_1 = {"format", "shards", "clips", "source", "result"}
_LARGEST = 1 << 30  # bytes; a clip has about 100


class Dropped(DataModel):
    """A clip that is not in the shards."""

    clip: str
    """`SPEAKER/NAME`."""
    reason: DropReason
    what: Message
    what_to_do: Message = NOTHING


class PackedSpeaker(DataModel):
    """What of a speaker is in the shards."""

    speaker: str
    sentences: int
    dropped: int
    frames: int


class Histogram(DataModel):
    """Counts between edges: `counts[i]` values lie in `edges[i]` (included) to `edges[i + 1]`."""

    edges: list[int]
    counts: list[int]


class PackResult(DataModel):
    """Result of `fishtune pack`. `sentences` and the dropped clips add up to `clips`."""

    output: Path
    clips: int
    sentences: int
    dropped: list[Dropped]
    left_out: list[Finding] = []
    """What lies in the data set and is not a clip, such as recordings that lie too deep."""
    speakers: list[PackedSpeaker]
    shards: int
    bytes: int
    codebooks: int
    frames: int
    columns: Histogram
    """Columns of the token matrix a clip, at most: frames, a token for each byte of text, and markers."""

    @property
    def usage(self) -> Usage:
        """The count of what is used."""
        return Usage.of(self.clips, (loss.reason for loss in self.dropped))


class Manifest(DataModel):
    """`fishtune-pack.json`: marks the folder as ours, names the clips, and says what they were made from."""

    format: Literal[1, 2] = 2
    """1 = of the version before, which kept neither digests nor a checksum."""
    shards: dict[str, int]
    """Bytes of every shard."""
    digests: dict[str, str]
    """`shard_digest` of every shard; empty in format 1."""
    clips: list[str]
    """`SPEAKER/NAME` of every sentence, in order."""
    source: str
    result: PackResult


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `fishtune-pack.json`, with a checksum of what it says.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    content = manifest.model_dump(mode="json", context=AS_DATA)
    write_text(folder / MANIFEST_FILE, json.dumps({**content, "checksum": _checksum(content)}))


def read_manifest(folder: Path) -> Manifest | None:
    """Return what is said about the shards in `folder`.

    None if `fishtune pack` did not write them, or what it said was changed since.
    """
    try:
        content = read_json(folder / MANIFEST_FILE, _LARGEST)
        if not isinstance(content, dict):
            return None
        if content.get("format") == 1:
            return _of_format_1(content)
        if content.pop("checksum", None) != _checksum(content):
            return None
        return Manifest.model_validate(content)
    except (MalformedFileError, StorageError, ValidationError):
        return None


def _of_format_1(content: dict[str, Any]) -> Manifest | None:
    """Return a record of the version before, or None if it is damaged. Raises ValidationError.

    It has no checksum, but says the same things twice.
    """
    manifest = Manifest.model_validate({**content, "digests": {}})
    result = manifest.result
    sentences = [sum(speaker.sentences for speaker in result.speakers), result.sentences]
    sizes = manifest.shards.values()
    is_sound = (
        set(content) == _FORMAT_1
        and sentences == [len(manifest.clips)] * 2
        and (len(sizes), sum(sizes)) == (result.shards, result.bytes)
        and min(sizes, default=0) > 0
        and all(name == f"{number:08d}{SHARD_EXTENSION}" for number, name in enumerate(manifest.shards))
    )
    return manifest if is_sound else None


def _checksum(content: dict[str, Any]) -> str:
    # Without the folder's own place: the same shards have the same checksum wherever they lie.
    result = content.get("result")
    if isinstance(result, dict):
        content = {**content, "result": {**result, "output": ""}}
    text = json.dumps(content, ensure_ascii=True, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_current(settings: PackSettings) -> bool:
    """Return whether the output was packed from the present files of the input with these settings.

    Raises:
        DataError: the input cannot be listed.
    """
    return current_result(settings) is not None


def current_result(settings: PackSettings, found: Scan | None = None) -> PackResult | None:
    """Return what was packed from the present files of the input with these settings, None if that is not so.

    Args:
        found: what lies in the input, where it is known.

    Raises:
        DataError: the input cannot be listed.
    """
    manifest = read_manifest(settings.output)
    if manifest is None:
        return None
    present = {name: _size(settings.output / name) for name in manifest.shards}
    if present != manifest.shards:
        return None
    clips = (found or scan(settings.input, settings.text_extension)).all_clips
    return manifest.result if manifest.source == source_of(settings, clips) else None


def check_place(settings: PackSettings) -> None:
    """Refuse an output whose replacement would replace the data set or the working folder.

    Raises:
        UsageError: the output is one of them or holds it.
    """
    output = settings.output.resolve()
    for folder, what in (
        (settings.input.resolve(), Message("the data set")),
        (Path.cwd(), Message("the working folder")),
    ):
        if output == folder or output in folder.parents:
            raise UsageError(
                "{output} is or holds {what}, and the output is replaced as a whole.",
                "Name a folder of its own with --output, for example: --output protos",
                output=settings.output,
                what=what,
            )


def source_of(settings: PackSettings, clips: Iterable[Clip]) -> str:
    """Return a hash of everything that decides what is packed: settings, names, sizes and times of files."""
    return source_from(settings, (file_states(clip, look_at(clip)) for clip in clips))


def source_from(settings: PackSettings, states: Iterable[bytes]) -> str:
    """Return what `source_of` does, from the `file_states` of the clips."""
    digest = hashlib.blake2b(digest_size=16)
    choice = (settings.text_extension, settings.shard_size, sorted(settings.exclude))
    digest.update(repr(choice).encode())
    for state in states:
        digest.update(state)
    return digest.hexdigest()


Statuses = tuple[os.stat_result | None, ...]
"""Of a clip's transcript, its codes and its recordings; None where there is no such file."""


def look_at(clip: Clip) -> Statuses:
    """Return the statuses of a clip's files as they are now."""
    return _status(clip.text_file), _status(clip.codes_file), *map(_status, clip.audio_files)


def file_states(clip: Clip, statuses: Statuses) -> bytes:
    """Return a clip's name and the sizes and times of its files, as `source_of` counts them."""
    states = [None if status is None else (status.st_size, status.st_mtime_ns) for status in statuses]
    return repr((clip.key, states)).encode()


def _status(path: StrPath | None) -> os.stat_result | None:
    if path is None:
        return None
    try:
        return os.stat(path)  # noqa: PTH116 - asked for each of 60,000 files
    except OSError:
        return None


def _size(path: Path) -> int:
    status = _status(path)
    return status.st_size if status else -1
