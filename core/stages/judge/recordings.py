"""What is judged: recordings by name or by folder, and what they should say."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...dataset.clips import AUDIO_EXTENSIONS
from ...dataset.entries import walk_files
from ...errors import DataError, UsageError
from ...file_names import TEXT_EXTENSION
from ...reading import reading
from ...text.transcripts import read_transcript

_OF_SCRIPT = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "CYRILLIC": "ru",
    "THAI": "th",
    "GREEK": "el",
    "HEBREW": "he",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
}
_KANA = 0.1
"""Share of kana from which Chinese characters are Japanese."""
_OWN = 0.2
"""Share of letters whose script tells the language; names and terms in Latin may be long beside them."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording that is judged."""

    path: Path
    text: str | None
    """What it should say; None where there is no transcript."""

    @property
    def folder(self) -> Path:
        """Recordings of one folder are of one voice."""
        return self.path.parent


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


def language_of(texts: Iterable[str | None]) -> str | None:
    """Return the language of texts whose script only one has; None for Latin, which hundreds are written
    in."""
    letters = [letter for text in texts for letter in text or "" if letter.isalpha()]
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in letters)
    if not scripts:
        return None
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > _KANA * len(letters):
        return "ja"
    known = Counter({script: count for script, count in scripts.items() if script in _OF_SCRIPT})
    script, count = next(iter(known.most_common(1)), ("", 0))
    return _OF_SCRIPT[script] if count > _OWN * len(letters) else None
