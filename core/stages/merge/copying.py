"""Copies a base's files for a merge, and hashes what became of its weights."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from ...config.settings import MergeSettings
from ...errors import CheckpointError
from ...events import ProgressMeter, Reporter
from ...messages import Message, of_the_system
from ...model.containers.container import Container
from ...reading import blocks, open_regular, reading

STOPPED = Message("Nothing was written.")
_OWN_FILES = ".fishtune"
"""What fishtune itself keeps in a checkpoint directory (records of a download) begins with this."""
_PIECE = 1 << 25
"""Bytes that the system copies at a time: between two of them a stop is looked for, and progress told."""


def copy_files(
    settings: MergeSettings, weights: Container, folder: Path, hashing: Future[str], reporter: Reporter
) -> bool:
    """Copy the base's files, the weights always, the others as links where asked; return whether linked.

    Args:
        hashing: what goes on beside the copying, and ends it if it fails.

    Raises:
        CheckpointError: a file of the base cannot be read.
        OSError: the copy cannot be written.
        StopRequested: asked to stop.
    """
    base = settings.base_weight
    files = sorted(
        path.relative_to(base)
        for path in base.rglob("*")
        if path.is_file() and not path.relative_to(base).parts[0].startswith(_OWN_FILES)
    )
    meter = ProgressMeter(reporter, "copying", sum((base / name).stat().st_size for name in files), "bytes")
    linked = settings.link
    for name in files:
        source, target = (base / name).resolve(), folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if settings.link and base / name not in weights.files:
            try:
                os.link(source, target)
                meter.advance(source.stat().st_size, str(name))
                continue
            except OSError as error:
                linked = False
                reporter.warn(
                    "{name} could not be linked ({reason}) and was copied.",
                    "Links need base and output on one file system that knows them.",
                    name=name,
                    reason=of_the_system(error),
                )
        with open_regular(source, CheckpointError) as read, target.open("wb") as write:
            for count in _copied(source, read, write):
                reporter.check_stop(STOPPED)
                if hashing.done():
                    hashing.result()
                meter.advance(count, str(name))
        shutil.copystat(source, target)
    return linked


def _copied(source: Path, read: IO[bytes], write: IO[bytes]) -> Iterator[int]:
    """Copy all of `source`, which is open in `read`, and yield the bytes of each piece that was copied.

    By the system itself where it can: the content does not pass through this process, so that copying waits
    for nothing that computes here, and takes no room at all on a disk that shares what files have in common.
    """
    copy = getattr(os, "copy_file_range", None)
    try:
        while copy is not None and (count := copy(read.fileno(), write.fileno(), _PIECE)):
            yield count
    except OSError:
        pass  # not between these two places, or one of them fails: reading and writing tell which
    left = blocks(read)
    while True:
        with reading(source, CheckpointError):
            block = next(left, None)
        if block is None:
            return
        write.write(block)
        yield len(block)


def hashes(files: Iterable[Path], reporter: Reporter) -> dict[str, str]:
    """Return the SHA-256 of files by name, which are brought to the disk meanwhile."""
    found = {}
    for file in files:
        digest = hashlib.sha256()
        with file.open("rb") as content:
            os.fsync(content.fileno())
            for block in blocks(content):
                reporter.check_stop(STOPPED)
                digest.update(block)
        found[file.name] = digest.hexdigest()
    return found
