"""Finds the recordings of a data set: `ROOT/SPEAKER/NAME.{mp3,wav,flac}`, `NAME.lab`, `NAME.npy`.

A speaker's folder may have folders of its own, one level: `ROOT/SPEAKER/BOOK/NAME.wav` is the clip
`SPEAKER/BOOK/NAME`. Only names are looked at; nothing but a table of transcripts is opened.
"""

from __future__ import annotations

import errno
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from ..errors import DataError
from ..file_names import TEXT_EXTENSION
from ..messages import Message, of_the_system, plural
from ..reading import unreadable
from ..terminal import shell_quoted
from .clips import AUDIO_EXTENSIONS, CODES_EXTENSION, SHARD_EXTENSION, Clip, Scan
from .entries import Entry, Listing, link_back, list_folder, sort_entries, walk_files
from .findings import Finding, FindingKind, error, warning
from .naming import Names, Naming, extension_of
from .transcript_tables import TranscriptTable, is_table_name, read_table

_MOST_TABLES = 8  # that are looked into for each folder


def scan(root: Path, text_extension: str = TEXT_EXTENSION, exclude: Iterable[str] = ()) -> Scan:
    """Return what lies in the data set `root`.

    Hidden and temporary entries are skipped, and so is a folder of packed shards. Extensions are
    compared without regard to case, as recorders write `.WAV`.

    Args:
        text_extension: extension of the transcripts, with or without its dot.
        exclude: clips to leave out, as `SPEAKER/NAME`; their files cause no problems either.

    Raises:
        DataError: `root` does not exist or is no folder.
        StorageError: the system refuses to list `root`, or the disk fails.
    """
    excluded = set(exclude)
    scanner = _Scanner(root, f".{text_extension.removeprefix('.')}", excluded)
    loose = scanner.scan()
    problems, clips = scanner.problems, scanner.clips
    if loose:
        problems.append(
            error(
                FindingKind.NOT_IN_SPEAKER_FOLDER,
                root,
                plural(
                    loose,
                    "{number} recording lies directly in {folder}, not in a speaker's folder.",
                    "{number} recordings lie directly in {folder}, not in a speaker's folder.",
                    folder=root,
                ),
                scanner.prepare_advice(),
                folder=root,
            )
        )
    keys = {clip.key for clip in clips}
    if not any(clip.audio_files or clip.codes_file for clip in clips) and not loose:
        problems.append(
            error(
                FindingKind.NO_SPEAKERS,
                root,
                "{folder} has no speaker folder with recordings.",
                "Put them there as {folder}/SPEAKER/NAME.mp3 (or .wav, .flac) with NAME{extension}.",
                folder=root,
                extension=scanner.text_extension,
            )
        )
    problems += [
        warning(
            FindingKind.EXCLUDED_UNKNOWN,
            root,
            "The clip {key} is to be left out but does not exist.",
            "Correct or remove it in the list of excluded clips (exclude in fishtune.toml).",
            key=repr(key),
        )
        for key in sorted(excluded - keys)
    ]
    kept = [clip for clip in clips if clip.key not in excluded]
    return Scan(root, kept, problems, [clip for clip in clips if clip.key in excluded] if excluded else [])


def list_root(root: Path) -> list[Entry]:
    """Return the entries of a data set's folder, sorted by name.

    Raises:
        DataError: `root` does not exist or is no folder.
        StorageError: the system refuses to list it, or the disk fails.
    """
    try:
        return list_folder(root)
    except OSError as failure:
        what = {
            errno.ENOENT: Message("{folder} does not exist.", folder=root),
            errno.ENOTDIR: Message("{folder} is not a folder.", folder=root),
            errno.ELOOP: Message("{folder} is a link that leads to itself.", folder=root),
            errno.ENAMETOOLONG: Message(
                "{folder} has a name that is too long for this file system.", folder=root
            ),
        }
        if failure.errno not in what:
            raise unreadable(root, failure) from failure
        raise DataError(
            what[failure.errno], "Give the folder that holds one folder per speaker."
        ) from failure


class _Scanner:
    """Walks a data set's folder and collects clips and problems."""

    def __init__(self, root: Path, text_extension: str, excluded: set[str]) -> None:
        self.text_extension = text_extension
        self.clips: list[Clip] = []
        self.problems: list[Finding] = []
        self._root, self._excluded = root, excluded
        self._naming = Naming(text_extension)
        self._deep: dict[Path, list[Path]] = defaultdict(list)
        self._in_tables: Counter[TranscriptTable] = Counter()

    def scan(self) -> int:
        """Scan all; return how many recordings lie in no speaker's folder."""
        top = self._sorted(self._root, list_root(self._root))
        tables = [Path(entry.path) for entry in top.files if is_table_name(entry.name)]
        for entry in top.folders:
            begin = len(self.clips)
            self._folder(entry, entry.name, "", [self._root], tables)
            self.clips[begin:] = sorted(self.clips[begin:], key=lambda clip: clip.name)
        self._say_deep()
        self._say_tables()
        return sum(extension_of(entry.name) in AUDIO_EXTENSIONS for entry in top.files)

    def _sorted(self, folder: Path, entries: list[Entry]) -> Listing:
        return sort_entries(folder, entries, self._naming.is_ours, self.problems)

    def _folder(self, entry: Entry, speaker: str, book: str, above: list[Path], tables: list[Path]) -> None:
        """Scan a speaker's folder, or one inside it (`book`)."""
        path = Path(entry.path)
        if (problem := link_back(entry, above)) is not None:
            self.problems.append(problem)
            return
        try:
            entries = list_folder(path)
        except OSError as failure:
            self.problems.append(
                error(
                    FindingKind.FOLDER_UNREADABLE,
                    path,
                    "The folder {file} cannot be read ({reason}).",
                    "Change its permissions.",
                    file=path,
                    reason=of_the_system(failure),
                )
            )
            return
        if any(entry.name.lower().endswith(SHARD_EXTENSION) for entry in entries):
            extensions = {extension_of(entry.name) for entry in entries}
            if SHARD_EXTENSION in extensions and not extensions.intersection(AUDIO_EXTENSIONS):
                return  # packed shards, and what training keeps beside them
        listing = self._sorted(path, entries)
        names = self._naming.sort(listing, self.problems)
        tables = [*names.tables[:_MOST_TABLES], *tables[:_MOST_TABLES]]
        for below in listing.folders:
            if self._naming.is_ours(below.name):
                self._folder_like_a_file(below, names)
            elif book:
                self._look_deeper(below, above[1], [*above, path])
            else:
                self._folder(below, speaker, below.name, [*above, path], tables)
        self._take(path, speaker, book, names, tables)

    def _folder_like_a_file(self, entry: Entry, names: Names) -> None:
        extension, path = extension_of(entry.name), Path(entry.path)
        names.refused.add(self._naming.stem(entry.name))
        if extension == CODES_EXTENSION:
            names.blocked.add(path.stem)
        what = (
            Message("{file} is a folder, though it is named like a recording.", file=path)
            if extension in AUDIO_EXTENSIONS
            else Message("{file} is a folder, though it is named like a transcript or codes.", file=path)
        )
        self.problems.append(error(FindingKind.NOT_A_FILE, path, what, "Rename or remove it."))

    def _look_deeper(self, entry: Entry, speaker: Path, above: list[Path]) -> None:
        """Count the recordings in a folder that lies too deep to be read."""
        if (problem := link_back(entry, above)) is not None:
            self.problems.append(problem)
            return
        for path in walk_files(Path(entry.path)):
            if extension_of(path.name) in AUDIO_EXTENSIONS:
                self._deep[speaker].append(path)

    def _say_deep(self) -> None:
        for folder, paths in self._deep.items():
            first, count = paths[0], len(paths)
            self.problems.append(
                warning(
                    FindingKind.NESTED_TOO_DEEP,
                    folder,
                    plural(
                        count,
                        "{file} lies too deep and is not used.",
                        "{number} recordings in {folder} lie too deep and are not used, such as {file}.",
                        file=first,
                        folder=folder,
                    ),
                    self.prepare_advice(),
                )
            )

    def _say_tables(self) -> None:
        for table, count in self._in_tables.items():
            self.problems.append(
                error(
                    FindingKind.TEXT_IN_TABLE,
                    table.path,
                    plural(
                        count,
                        "{file} ({layout}) has the words of a recording that has no transcript of its own.",
                        "{file} ({layout}) has the words of {number} recordings that have no transcript of "
                        "their own.",
                        file=table.path,
                        layout=Message(table.kind),
                    ),
                    self.prepare_advice(),
                )
            )

    def _take(self, folder: Path, speaker: str, book: str, names: Names, tables: list[Path]) -> None:
        """Make the clips of a folder and say what they lack."""
        prefix = f"{book}/" if book else ""
        for name in sorted(names.audio.keys() | names.texts.keys() | names.codes.keys()):
            clip = Clip(
                speaker,
                prefix + name,
                tuple(names.audio.get(name, ())),
                names.texts.get(name),
                names.codes.get(name),
                is_blocked=name in names.blocked,
            )
            is_excluded = clip.key in self._excluded
            if clip.text_file is None and name not in names.refused and not is_excluded:
                advice, other = self._text_advice(folder, name, names, tables)
                clip = clip._replace(text_advice=advice)
                if isinstance(other, TranscriptTable):
                    self._in_tables[other] += 1
                    clip = clip._replace(other_text=other.path)
                else:
                    clip = clip._replace(other_text=other)
                    self.problems.append(_text_missing(clip))
            self.clips.append(clip)
            if not is_excluded:
                self.problems += _audio_problems(clip, name, is_refused=name in names.refused)

    def prepare_advice(self) -> Message:
        """Return what to do about a folder that is laid out in another way."""
        return Message("Make a data set of what lies here: fishtune prepare {data} {out}", **self._folders())

    def _folders(self) -> dict[str, str]:
        """Return the folder and one beside it as they stand in a command."""
        folder = self._root if self._root.name not in ("", "..") else self._root.resolve()
        beside = folder.with_name(f"{folder.name}-prepared") if folder.name else Path("data")
        return {"data": shell_quoted(self._root), "out": shell_quoted(beside)}

    def _text_advice(
        self, folder: Path, name: str, names: Names, tables: list[Path]
    ) -> tuple[Message, TranscriptTable | Path | None]:
        """Return what to do about a missing transcript, and the file or table that may have its words."""
        if name in names.other_texts:
            other = Path(names.other_texts[name])
            extension = other.name[len(name) :]
            return (
                Message(
                    "If {file} is meant: --text-extension {extension} (text_extension in [pack] of "
                    "fishtune.toml), or rename it.",
                    file=other.name,
                    extension=extension,
                )
            ), other
        if (like := names.text_like(name)) is not None:
            twin = Path(like)
            return Message(
                "{file} looks alike but is spelt in another Unicode form: rename one of them.", file=twin.name
            ), twin
        for path in tables:
            table = read_table(path)
            if table is not None and table.has(folder.name, name):
                return self.prepare_advice(), table
        file = folder / f"{name}{self.text_extension}"
        return Message(
            "Write what is said into {file}, or have it transcribed: fishtune prepare {data} {out}",
            file=file,
            **self._folders(),
        ), None


def _text_missing(clip: Clip) -> Finding:
    path = clip.audio[0] if clip.audio else clip.codes
    assert path is not None  # a clip has at least one file
    return error(
        FindingKind.TEXT_MISSING, path, "{file} has no transcript.", clip.text_advice, file=path.name
    )


def _audio_problems(clip: Clip, name: str, *, is_refused: bool) -> list[Finding]:
    if len(clip.audio_files) > 1:
        names = ", ".join(path.name for path in clip.audio)
        return [
            error(
                FindingKind.AUDIO_TWICE,
                clip.audio[1],
                "{key} has {number} recordings, {names}; they would share {name}.npy.",
                "Keep one of them, or rename one together with its transcript.",
                key=clip.key,
                number=len(clip.audio),
                names=names,
                name=name,
            )
        ]
    if clip.text_file is not None and not clip.audio_files and clip.codes_file is None and not is_refused:
        text = Path(clip.text_file)
        return [
            error(
                FindingKind.AUDIO_MISSING,
                text,
                "{file} has no recording.",
                "Add {name}.mp3, .wav or .flac, or remove the transcript.",
                file=text.name,
                name=name,
            )
        ]
    return []
