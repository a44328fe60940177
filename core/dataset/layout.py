"""Finds the recordings of a data set: `ROOT/SPEAKER/NAME.{mp3,wav,flac}`, `NAME.lab`, `NAME.npy`.

Only names are looked at here; nothing is opened. One folder level, as the documentation has it.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from ..files import TEMPORARY_PREFIX
from .findings import Code, Finding, error, warning

AUDIO_EXTENSIONS = (".mp3", ".wav", ".flac")
TEXT_EXTENSION = ".lab"
CODES_EXTENSION = ".npy"
SHARD_EXTENSION = ".protos"
_OTHER_TEXT = (".txt", TEXT_EXTENSION)
# Recordings that people have and that must be converted first.
_FOREIGN_AUDIO = (".m4a", ".aac", ".ogg", ".opus", ".wma", ".aif", ".aiff", ".mp4", ".webm")


@dataclass(frozen=True, slots=True, order=True)
class Utterance:
    """One recording of one speaker."""

    speaker: str
    audio: Path

    @property
    def name(self) -> str:
        """Name of the recording without folder and extension."""
        return self.audio.stem

    @property
    def key(self) -> str:
        """`SPEAKER/NAME`, as the project file's `exclude` lists it."""
        return f"{self.speaker}/{self.name}"

    @property
    def codes_path(self) -> Path:
        """Where the codes belong; the file need not exist."""
        return self.audio.with_suffix(CODES_EXTENSION)

    def text_path(self, text_extension: str = TEXT_EXTENSION) -> Path:
        """Where the transcript belongs; the file need not exist."""
        return self.audio.with_suffix(text_extension)


@dataclass(frozen=True, slots=True)
class Clip:
    """All files of a speaker's folder that share one name; what a stage needs of them may be missing."""

    speaker: str
    name: str
    audio: tuple[Path, ...] = ()
    """Recordings of this name; more than one is an error, since they would share one code file."""
    text: Path | None = None
    codes: Path | None = None

    @property
    def key(self) -> str:
        """`SPEAKER/NAME`."""
        return f"{self.speaker}/{self.name}"


@dataclass(frozen=True, slots=True)
class Scan:
    """What lies in a data set's folder. Everything is sorted by speaker, then name."""

    root: Path
    clips: list[Clip] = field(default_factory=list)
    """Every name, complete or not."""
    problems: list[Finding] = field(default_factory=list)
    """What is wrong with the layout itself: stray, doubled and missing files."""

    @property
    def utterances(self) -> list[Utterance]:
        """The clips that have exactly one recording."""
        return [Utterance(clip.speaker, clip.audio[0]) for clip in self.clips if len(clip.audio) == 1]

    @property
    def speakers(self) -> list[str]:
        """Names of the speakers' folders."""
        return sorted({clip.speaker for clip in self.clips})


def scan(root: Path, text_extension: str = TEXT_EXTENSION, exclude: Iterable[str] = ()) -> Scan:
    """Return what lies in the data set `root`.

    Hidden and temporary entries are skipped, and so is a folder of packed shards. Extensions are
    compared without regard to case, as recorders write `.WAV`.

    Args:
        text_extension: extension of the transcripts, with or without its dot.
        exclude: clips to leave out, as `SPEAKER/NAME`; their files cause no problems either.

    Raises:
        DataError: `root` does not exist, is no folder, or cannot be listed.
    """
    excluded = set(exclude)
    text_extension = f".{text_extension.removeprefix('.')}"
    clips: list[Clip] = []
    problems: list[Finding] = []
    loose = 0
    listing = list_root(root)
    for entry in _usable(root, listing, problems):
        if entry.is_dir():
            found, wrong = _scan_speaker(Path(entry.path), text_extension, excluded)
            clips += found
            problems += wrong
        elif _extension(entry.name) in AUDIO_EXTENSIONS:
            loose += 1
    if loose:
        problems.append(
            error(
                Code.NOT_IN_SPEAKER_FOLDER,
                root,
                f"{loose} recording{'s lie' if loose > 1 else ' lies'} directly in {root}, "
                "not in a speaker's folder.",
                f"Make one folder a speaker and move the recordings and transcripts there: {root}/SPEAKER/.",
            )
        )
    keys = {clip.key for clip in clips}
    if not any(clip.audio or clip.codes for clip in clips) and not loose:
        problems.append(
            error(
                Code.NO_SPEAKERS,
                root,
                f"{root} has no speaker folder with recordings.",
                f"Put them there as {root}/SPEAKER/NAME.mp3 (or .wav, .flac) with NAME{text_extension}.",
            )
        )
    problems += [
        warning(
            Code.EXCLUDED_UNKNOWN,
            root,
            f"The clip {key!r} is to be left out but does not exist.",
            "Correct or remove it in the list of excluded clips (exclude in fishtune.toml).",
        )
        for key in sorted(excluded - keys)
    ]
    return Scan(root, [clip for clip in clips if clip.key not in excluded], problems)


def list_root(root: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a data set's folder, sorted by name.

    Raises:
        DataError: `root` does not exist, is no folder, or cannot be listed.
    """
    try:
        return _listing(root)
    except OSError as failure:
        what = {FileNotFoundError: "does not exist", NotADirectoryError: "is not a folder"}
        raise DataError(
            f"{root} {what.get(type(failure), f'cannot be read ({failure.strerror})')}.",
            "Give the folder that holds one folder a speaker.",
        ) from failure


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each of 200,000 names costs seconds


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:  # bytes that are no UTF-8 arrive as lone surrogates
        return False
    return name.isprintable()


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as listing:
        return sorted(listing, key=lambda entry: entry.name)


def _usable(folder: Path, listing: list[os.DirEntry[str]], problems: list[Finding]) -> list[os.DirEntry[str]]:
    """Return the entries that are meant; names that no report or shard can carry become problems."""
    usable = []
    for entry in listing:
        if entry.name.startswith((".", TEMPORARY_PREFIX)):
            continue
        if _is_text(entry.name):
            usable.append(entry)
            continue
        shown = folder / repr(os.fsencode(entry.name))[2:-1]
        problems.append(
            error(
                Code.BAD_NAME,
                shown,
                f"The name of {shown} has bytes that are not printable UTF-8.",
                "Rename it.",
            )
        )
    return usable


def _scan_speaker(folder: Path, text_extension: str, excluded: set[str]) -> tuple[list[Clip], list[Finding]]:
    problems: list[Finding] = []
    audio: dict[str, list[Path]] = defaultdict(list)
    texts: dict[str, Path] = {}
    other_texts: dict[str, Path] = {}
    codes: dict[str, Path] = {}
    nested = 0
    try:
        listing = _listing(folder)
    except OSError as failure:
        problems.append(
            error(
                Code.FOLDER_UNREADABLE,
                folder,
                f"The folder {folder} cannot be read ({failure.strerror}).",
                "Change its permissions.",
            )
        )
        return [], problems
    extensions = {_extension(entry.name) for entry in listing}
    if SHARD_EXTENSION in extensions and not extensions.intersection(AUDIO_EXTENSIONS):
        return [], []  # packed shards, and what training keeps beside them
    for entry in _usable(folder, listing, problems):
        extension, path = _extension(entry.name), Path(entry.path)
        if entry.is_dir():
            if extension in AUDIO_EXTENSIONS:
                problems.append(
                    error(
                        Code.NOT_A_FILE,
                        path,
                        f"{path} is a folder, though it is named like a recording.",
                        "Rename or remove it.",
                    )
                )
            else:
                nested += _has_audio(path)
        elif extension in AUDIO_EXTENSIONS:
            audio[path.stem].append(path)
        elif entry.name.endswith(text_extension):
            texts[entry.name.removesuffix(text_extension)] = path
        elif extension == CODES_EXTENSION:
            codes[path.stem] = path
        elif extension in _OTHER_TEXT:
            other_texts[path.stem] = path
        elif extension in _FOREIGN_AUDIO:
            problems.append(
                error(
                    Code.UNKNOWN_FORMAT,
                    path,
                    f"{path} is not used: recordings are {', '.join(AUDIO_EXTENSIONS)}.",
                    f"Convert it, for example: ffmpeg -i '{path}' '{path.with_suffix('.wav')}'",
                )
            )
    if nested:
        problems.append(
            warning(
                Code.NESTED_TOO_DEEP,
                folder,
                f"{folder} has {nested} folder{'s' if nested > 1 else ''} with recordings that are not used.",
                "Move the files up: every recording lies directly in its speaker's folder.",
            )
        )
    clips = [
        Clip(folder.name, name, tuple(audio.get(name, ())), texts.get(name), codes.get(name))
        for name in sorted(audio.keys() | texts.keys() | codes.keys())
    ]
    # macOS takes Korean syllables and accents apart; such names look alike and are not.
    alike = {unicodedata.normalize("NFC", name): path for name, path in texts.items()}
    for clip in clips:
        if clip.key in excluded:
            continue
        about_text = f"Write what is said into {folder / clip.name}{text_extension}."
        if clip.name in other_texts:
            other = other_texts[clip.name]
            about_text = f"If {other.name} is meant: --text-extension {other.suffix}, or rename it."
        elif (twin := alike.get(unicodedata.normalize("NFC", clip.name))) is not None:
            about_text = f"{twin.name} looks alike but is spelt in another Unicode form: rename one of them."
        problems += _incomplete(clip, about_text)
    return clips, problems


def _has_audio(folder: Path) -> bool:
    try:
        with os.scandir(folder) as listing:
            return any(_extension(entry.name) in AUDIO_EXTENSIONS for entry in listing)
    except OSError:
        return False


def _incomplete(clip: Clip, about_text: str) -> list[Finding]:
    problems: list[Finding] = []
    if len(clip.audio) > 1:
        names = ", ".join(path.name for path in clip.audio)
        problems.append(
            error(
                Code.AUDIO_TWICE,
                clip.audio[1],
                f"{clip.key} has {len(clip.audio)} recordings, {names}; they would share {clip.name}.npy.",
                "Keep one of them, or rename one together with its transcript.",
            )
        )
    if clip.text is None:
        (path, *_) = (*clip.audio, clip.codes)
        problems.append(error(Code.TEXT_MISSING, path, f"{path.name} has no transcript.", about_text))
    elif not clip.audio and clip.codes is None:
        problems.append(
            error(
                Code.AUDIO_MISSING,
                clip.text,
                f"{clip.text.name} has no recording.",
                f"Add {clip.name}.mp3, .wav or .flac, or remove the transcript.",
            )
        )
    return problems
