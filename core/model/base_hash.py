"""Which base a run builds on: the hash of its weights, computed once a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..dataset.origins import content_digest
from ..errors import CheckpointError, DataError, MalformedFileError, StorageError
from ..events import ProgressMeter, Reporter
from ..files import write_json
from ..messages import Message
from ..reading import blocks, open_regular, reading
from ..tables import read_json
from ..user_folders import cache_file
from .containers.container import combined_sha256
from .families import family_of, name_a_directory

_LARGEST_RECORD = 1 << 16  # bytes


def base_hash(base: Path, reporter: Reporter) -> str:
    """Return the SHA-256 of the base's weights, in hex: of one file its own, of several that of their hashes.

    Each file's is kept in the user's cache folder by path, since reading gigabytes takes seconds, with the
    size, the times and a digest of a part of the content. Nothing is written into the base directory.

    Raises:
        CheckpointError: there are no weights, or it is not a checkpoint directory.
        StorageError: the system refused to read them.
        StopRequested: asked to stop.
    """
    files = family_of(base).container(base).files
    return combined_sha256({file.name: _file_hash(file.absolute(), reporter) for file in files})


def _file_hash(file: Path, reporter: Reporter) -> str:
    hint = name_a_directory()
    with reading(file, CheckpointError, hint):
        state = file.stat()
    try:
        key: list[str | int] = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, content_digest(file)]
    except DataError as error:
        raise CheckpointError(error.message, hint) from error
    kept = _kept_file(file)
    stored = _stored_hash(kept, key)
    if stored is not None:
        return stored
    digest = hashlib.sha256()
    meter = ProgressMeter(reporter, Message("checking the base"), state.st_size, "bytes")
    with open_regular(file, CheckpointError) as content, reading(file, CheckpointError, hint):
        for block in blocks(content):
            reporter.check_stop()
            digest.update(block)
            meter.advance(len(block), file.name)
    found = digest.hexdigest()
    try:
        write_json(kept, {"key": key, "sha256": found, "checksum": _checksum(key, found)})
    except StorageError as error:
        reporter.log(f"The base's hash could not be kept: {error.message}")
    return found


def _stored_hash(kept: Path, key: list[str | int]) -> str | None:
    """Return the hash that is kept for `key`, or None where there is none or the file is damaged."""
    try:
        stored = read_json(kept, _LARGEST_RECORD)
    except (MalformedFileError, StorageError):
        return None
    if not isinstance(stored, dict) or stored.get("key") != key:
        return None
    found = stored.get("sha256")
    if not isinstance(found, str) or stored.get("checksum") != _checksum(key, found):
        return None
    return found


def _checksum(key: list[str | int], sha256: str) -> str:
    return hashlib.blake2b(json.dumps([key, sha256]).encode(), digest_size=12).hexdigest()


def _kept_file(file: Path) -> Path:
    return cache_file("hashes", file, ".json")
