"""What is judged: recordings by name or by folder, and what they should say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...dataset.clips import AUDIO_EXTENSIONS
from ...dataset.entries import walk_files
from ...errors import DataError, UsageError
from ...file_names import TEXT_EXTENSION
from ...reading import reading
from ...text.transcripts import read_transcript


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """Return the recordings that `paths` name, each once: files as they are, folders with all below them.

    Raises:
        UsageError: a path does not exist.
        DataError: there is no recording.
        StorageError: the system refuses to look.
    """
    found: list[Path] = []
    for path in paths:
        with reading(path, UsageError):
            if path.is_dir():
                found += [file for file in walk_files(path) if file.suffix.lower() in AUDIO_EXTENSIONS]
            elif path.exists():
                found.append(path)
            else:
                raise UsageError(
                    "{file} does not exist.", "Name recordings, or folders with recordings.", file=path
                )
    if not found:
        raise DataError(
            "{data} has no recordings.",
            "They end in {audio_extensions}; convert others first.",
            data=paths[0],
            audio_extensions=", ".join(AUDIO_EXTENSIONS),
        )
    return list(dict.fromkeys(found))


def transcript_of(recording: Path) -> str | None:
    """Return what a recording should say, or None where no transcript lies beside it.

    Raises:
        TextError: the transcript cannot be used.
        StorageError: the system refused to read it.
    """
    file = recording.with_suffix(TEXT_EXTENSION)
    with reading(file):
        if not file.exists():
            return None
    return read_transcript(file).packed
