"""Which base a run builds on: the hash of its weights, computed once a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import platformdirs

from ..errors import CheckpointError, StorageError
from ..events import ProgressMeter, Reporter
from ..files import write_json
from ..model.checkpoint import WEIGHTS_FILE
from ..model.config import NAME_A_DIRECTORY

_BLOCK = 1 << 24


def base_hash(base: Path, reporter: Reporter) -> str:
    """Return the SHA-256 of the base's weights file, in hex.

    It is kept in the person's cache folder by path, size and time of change, since reading gigabytes takes
    seconds. Nothing is written into the base directory.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    file = (base / WEIGHTS_FILE).absolute()
    try:
        state = file.stat()
        kept = _kept_file(file)
        key = [str(file), state.st_size, state.st_mtime_ns]
        try:
            stored = json.loads(kept.read_text(encoding="utf-8"))
            if stored["key"] == key:
                return str(stored["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not kept yet
        digest = hashlib.sha256()
        meter = ProgressMeter(reporter, "checking the base", state.st_size, "bytes")
        with file.open("rb") as content:
            while block := content.read(_BLOCK):
                digest.update(block)
                meter.advance(len(block), WEIGHTS_FILE)
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read: {error.strerror}.",
            NAME_A_DIRECTORY,
        ) from error
    try:
        write_json(kept, {"key": key, "sha256": digest.hexdigest()})
    except StorageError as error:
        reporter.log(f"The base's hash could not be kept: {error.message}")
    return digest.hexdigest()


def _kept_file(file: Path) -> Path:
    name = hashlib.blake2b(bytes(file), digest_size=12).hexdigest()
    return Path(platformdirs.user_cache_dir("fishtune")) / "hashes" / f"{name}.json"
