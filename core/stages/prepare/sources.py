"""What lies in a folder of raw recordings: which are there, whose they are, and what is known of their words.

Folders may be laid out in any way: one per speaker, one for all, with tables or texts beside the recordings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...dataset.entries import walk_files
from ...dataset.layout import list_root
from ...dataset.transcript_tables import Row, TableKind, is_table_name, read_rows
from ...errors import DataError
from ...file_names import TEXT_EXTENSION, is_usable_name
from ...text.transcripts import read_transcript
from .captions import captions_by_recording

READ = frozenset(
    {
        ".wav",
        ".mp3",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
    }
)
"""Endings of what libsndfile reads."""
CONVERTED = frozenset(
    {".m4a", ".m4b", ".aac", ".wma", ".amr", ".3gp", ".webm", ".mp4", ".mkv", ".mov", ".avi", ".mpg", ".mpeg"}
)
"""Endings of what ffmpeg reads."""
# Folders that hold the recordings of a data set, and are nobody's name.
_CONTAINERS = frozenset(
    {"audio", "audios", "clips", "data", "dev", "flac", "mp3", "raw", "recordings", "segments", "split"}
    | {"test", "train", "val", "valid", "validation", "wav", "wavs"}
)
_LARGEST_TEXT = 64 << 20
"""Bytes of a text of a whole recording."""
_TEXT_ENDINGS = (TEXT_EXTENSION, ".txt")


@dataclass(frozen=True, slots=True)
class Source:
    """One raw recording."""

    path: Path
    relative: str
    """Path in the folder, with `/`."""
    speaker: str
    name: str
    """Of its clips: `NAME` or `BOOK/NAME`."""
    text: str = ""
    """What is said in all of it, by a table; "" = none does."""
    language: str = ""
    """By a table, two letters."""
    captions: Path | None = None
    """File with what is said and when."""


@dataclass(frozen=True)
class Found:
    """What lies in a folder of recordings."""

    sources: list[Source]
    """Sorted by path."""
    layouts: list[str] = field(default_factory=list)
    """What is known of how the folder is laid out, each in words."""
    ambiguous: list[str] = field(default_factory=list)
    """Names in tables that several recordings have."""


def find_sources(raw: Path, speaker: str | None = None) -> Found:
    """Return the recordings in a folder, at any depth.

    Args:
        speaker: of all of them; None = the one that a table names, else the first folder on the way that may
            be a name, else that of `raw` itself.

    Raises:
        DataError: `raw` is not a folder, or has no recordings.
        StorageError: the system refuses to list it.
    """
    list_root(raw)
    files = list(walk_files(raw))
    recordings = [path for path in files if path.suffix.lower() in READ | CONVERTED]
    if not recordings:
        raise DataError(
            "{raw} has no recordings.",
            "They end in {endings}, or in what ffmpeg reads, such as .m4a.",
            raw=raw,
            endings=", ".join(sorted(READ)),
        )
    rows, layouts, ambiguous = _table_rows(files, recordings)
    own_name = _as_name(raw.resolve().name)
    captions = captions_by_recording(files)
    sources = []
    for path in sorted(recordings, key=lambda path: path.relative_to(raw).as_posix()):
        row = rows.get(path, Row("", ""))
        folders = [name for name in path.relative_to(raw).parts[:-1] if name.lower() not in _CONTAINERS]
        whose = speaker or _as_name(row.speaker) or _as_name(next(iter(folders), "")) or own_name or "speaker"
        sources.append(
            Source(
                path,
                path.relative_to(raw).as_posix(),
                whose,
                _clip_name([name for name in folders if name != whose], path.stem),
                row.text,
                row.language[:2].lower(),
                None if row.text else captions.get(path.with_suffix("")),
            )
        )
    if any(_text_beside(path) for path in recordings):
        layouts.append("texts beside the recordings")
    return Found(sources, layouts, ambiguous)


def text_of(source: Source) -> str:
    """Return what is said in all of a recording, by a file beside it, else by a table; "" if nothing says it.

    Raises:
        TextError: the file cannot be used.
        StorageError: the system refused to read it.
    """
    file = _text_beside(source.path)  # what somebody corrected lies there
    return " ".join(read_transcript(file, _LARGEST_TEXT).text.split()) if file else source.text


def _text_beside(recording: Path) -> Path | None:
    exact = [recording.with_suffix(ending) for ending in _TEXT_ENDINGS]
    # LibriTTS has NAME.original.txt and NAME.normalized.txt.
    others = [recording.with_suffix(f".{kind}.txt") for kind in ("original", "normalized")]
    return next((file for file in (*exact, *others) if file.is_file()), None)


def _table_rows(
    files: Iterable[Path], recordings: list[Path]
) -> tuple[Mapping[Path, Row], list[str], list[str]]:
    """Return the row of each recording that a table names, which tables they are, and what is ambiguous."""
    rows: dict[Path, Row] = {}
    kinds: Counter[tuple[TableKind, str]] = Counter()
    ambiguous: list[str] = []
    of_one_recording = {path.with_suffix("") for path in recordings}  # such as Whisper's NAME.tsv
    for file in files:
        if not is_table_name(file.name) or file.with_suffix("") in of_one_recording:
            continue
        try:
            table = read_rows(file)
        except DataError:
            continue  # a table of something else
        below = [path for path in recordings if file.parent in path.parents]
        for row, path in _matched(table.rows, file.parent, below, ambiguous):
            if rows.setdefault(path, row) is row:
                kinds[table.kind, file.name] += 1
    return rows, [f"{kind} ({name})" for (kind, name), _ in kinds.most_common()], ambiguous


def _matched(
    rows: Iterable[Row], folder: Path, recordings: list[Path], ambiguous: list[str]
) -> Iterable[tuple[Row, Path]]:
    """Yield the rows that name one of the recordings, each by as much of its path as both have."""
    by_end: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path in recordings:
        parts = path.relative_to(folder).with_suffix("").parts
        for count in range(1, len(parts) + 1):
            by_end[parts[-count:]].append(path)
    for row in rows:
        parts = tuple(part for part in row.recording.replace("\\", "/").split("/") if part not in ("", "."))
        name, dot, ending = parts[-1].rpartition(".") if parts else ("", "", "")
        if dot and f".{ending.lower()}" in READ | CONVERTED:
            parts = (*parts[:-1], name)
        fitting = next((by_end[parts[at:]] for at in range(len(parts)) if parts[at:] in by_end), [])
        if len(fitting) == 1:
            yield row, fitting[0]
        elif fitting:
            ambiguous.append(row.recording)


def _clip_name(folders: list[str], stem: str) -> str:
    """Return a clip's name: the data set has room for one folder inside a speaker's."""
    names = [_as_name(name) for name in (*folders, stem)]
    return "/".join([*names[:1], "-".join(names[1:])]) if len(names) > 1 else names[0]


def _as_name(text: str) -> str:
    """Return a text as a name of a file or folder; "" where nothing of it can be."""
    usable = "".join("_" if mark in '/\\:*?"<>|' or not is_usable_name(mark) else mark for mark in text)
    return usable.strip(" .")
