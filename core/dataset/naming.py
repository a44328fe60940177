"""What the files of a data set's folder are by their names: recordings, transcripts, codes, or neither."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ..file_names import TEXT_EXTENSION
from .clips import AUDIO_EXTENSIONS, CODES_EXTENSION
from .entries import Entry, Listing
from .findings import Finding, FindingKind, error, warning
from .transcript_tables import is_table_name

_OTHER_TEXT = (".txt", TEXT_EXTENSION)
# Recordings that people have and that must be converted first.
_FOREIGN_AUDIO = (".m4a", ".aac", ".ogg", ".opus", ".wma", ".aif", ".aiff", ".mp4", ".webm")


def extension_of(name: str) -> str:
    """Return the extension of a name, with its dot and in small letters."""
    if name[:1] == ".":  # hidden: leading dots begin no extension
        return os.path.splitext(name)[1].lower()  # noqa: PTH122
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ""


@dataclass(slots=True)
class Names:
    """The files of one folder by what they are and by the name that they share, as texts (see `Clip`)."""

    audio: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    texts: dict[str, str] = field(default_factory=dict)
    other_texts: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    _composed: dict[str, str] = field(default_factory=dict)

    def text_like(self, name: str) -> str | None:
        """Return the transcript whose name looks like `name`, if there is one.

        macOS takes Korean syllables and accents apart; such names look alike and are not.
        """
        if not self._composed:
            self._composed = {unicodedata.normalize("NFC", text): path for text, path in self.texts.items()}
        return self._composed.get(unicodedata.normalize("NFC", name))


@dataclass(frozen=True, slots=True)
class Naming:
    """Tells the files of a data set by their names.

    Args:
        text_extension: of the transcripts, with its dot; case does not count, as recorders write `.WAV`.
    """

    text_extension: str

    def is_ours(self, name: str) -> bool:
        """Whether a name is that of a recording, a transcript or codes."""
        return extension_of(name) in (*AUDIO_EXTENSIONS, CODES_EXTENSION) or self.is_text(name)

    def is_text(self, name: str) -> bool:
        """Whether a name is that of a transcript."""
        return name[-len(self.text_extension) :].lower() == self.text_extension.lower()

    def stem(self, name: str) -> str:
        """Return the name that a recording, transcript or code file shares with the others of its clip."""
        extension = self.text_extension if self.is_text(name) else extension_of(name)
        return name[: len(name) - len(extension)]

    def sort(self, listing: Listing, problems: list[Finding]) -> Names:
        """Return the files of a folder by what they are; what must be converted goes to `problems`."""
        names = Names(refused={self.stem(name) for name in listing.refused})
        names.blocked = {name[:-4] for name in listing.refused if extension_of(name) == CODES_EXTENSION}
        for entry in listing.files:
            name = entry.name
            extension, path = extension_of(name), entry.path
            stem = name[: len(name) - len(extension)]
            if extension in AUDIO_EXTENSIONS:
                names.audio[stem].append(path)
                continue
            if self.is_text(name):
                self._add_text(names, entry, problems)
            elif extension == CODES_EXTENSION:
                names.codes[stem] = path
            elif extension in _OTHER_TEXT:
                for dot in _dots(name):
                    names.other_texts.setdefault(name[:dot], path)
            elif extension in _FOREIGN_AUDIO:
                problems.append(
                    error(
                        FindingKind.UNKNOWN_FORMAT,
                        Path(path),
                        "{file} is not used: recordings are {extensions}.",
                        "Convert it, for example: ffmpeg -i '{file}' '{target}'",
                        file=path,
                        extensions=", ".join(AUDIO_EXTENSIONS),
                        target=Path(path).with_suffix(".wav"),
                    )
                )
            if is_table_name(name):
                names.tables.append(Path(path))
        return names

    def _add_text(self, names: Names, entry: Entry, problems: list[Finding]) -> None:
        """Take a transcript; of two that differ in the case of the extension, the one asked for."""
        stem, path = entry.name[: -len(self.text_extension)], entry.path
        other = names.texts.setdefault(stem, path)
        if other is path:
            return
        used = path if path.endswith(self.text_extension) else other
        names.texts[stem] = used
        unused = Path(other if used is path else path)
        problems.append(
            warning(
                FindingKind.TEXT_TWICE,
                unused,
                "{file} is not used, as {other} lies beside it.",
                "Keep the right one of them.",
                file=unused.name,
                other=Path(used).name,
            )
        )


def _dots(name: str) -> list[int]:
    """Return where the dots of a name are, last first: LibriTTS has `NAME.normalized.txt`."""
    return [place for place in range(len(name) - 1, 0, -1) if name[place] == "."]
