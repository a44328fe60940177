"""Recordings that libsndfile does not read, through ffmpeg where it is installed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from ...files import remove, temporary_path
from ...terminal import shell_quoted
from .sources import READ


@contextlib.contextmanager
def readable(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the recording in a format that is read: itself, or a copy in `folder` that is removed again.

    Raises:
        DataError: it must be converted, and ffmpeg is not installed or cannot read it.
    """
    if path.suffix.lower() in READ:
        yield path
        return
    program = shutil.which("ffmpeg")
    if program is None:
        raise DataError(
            "{file} is in a format that needs ffmpeg, which is not installed.",
            "Install ffmpeg, or convert it elsewhere: ffmpeg -i {quoted} {target}",
            file=path,
            quoted=shell_quoted(path),
            target=shell_quoted(path.with_suffix(".wav")),
        )
    folder.mkdir(parents=True, exist_ok=True)
    copy = temporary_path(folder / f"{path.stem}.wav")
    try:
        # RF64 only where a wav would be too large for its header.
        arguments = ["-nostdin", "-v", "error", "-i", str(path.absolute()), "-vn", "-map", "0:a:0"]
        arguments += ["-c:a", "pcm_s16le", "-rf64", "auto", "-f", "wav", "-y", str(copy.absolute())]
        done = subprocess.run([program, *arguments], capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise DataError(
                "ffmpeg cannot read {file}: {reason}",
                "Play it to see whether it is whole; export it again as wav.",
                file=path,
                reason=said[-1][:300] if said else done.returncode,
            )
        yield copy
    finally:
        remove(copy)
