"""From raw recordings to a data set: cut in pauses, transcribed, one folder per speaker.

The folder of recordings is only read. The data set keeps a record, `prepare.json`, of what came from where;
recordings that it knows are done, so more may be added to either folder at any time. What an unfinished
recording has come to is in a journal.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

from pydantic import BaseModel

from ...audio.recordings import read_info
from ...config.settings import PrepareSettings
from ...dataset.clips import AUDIO_EXTENSIONS
from ...dataset.edits import read_edits
from ...dataset.origins import content_digest
from ...dataset.prepared import PreparedData, PreparedRecording, WordsFrom, read_prepared, write_prepared
from ...errors import DataError, StorageError, UsageError
from ...events import ItemFailed, ProgressMeter, Reporter
from ...file_names import TEXT_EXTENSION
from ...files import check_writable, sweep_temporary
from ...messages import first_of, named, plural
from ...tables import read_json
from ...units import format_count, format_duration
from .convert import readable
from .ears import Ears
from .journal import Journal
from .realise import add_edits, finish
from .recording import Preparation, Task
from .sources import READ, Found, find_sources

_SHOWN = 5
_RECORD_SECONDS = 5.0
_BYTES_PER_SECOND = 16_000
"""Of recordings whose length only ffmpeg knows: 128 kbit/s."""


class PrepareResult(BaseModel):
    """Result of `run`."""

    out: Path
    prepared: int
    """Recordings prepared now."""
    current: int
    """Recordings that were done already."""
    clips: int
    """Clips that came from the recordings prepared now."""
    seconds: float
    """Their length."""
    recorded_seconds: float
    """Length of the recordings prepared now."""
    left_out: int
    """Clips left out: of another voice than the one to be kept, or without words."""
    other_voices: list[str]
    """Recordings prepared now with more than one voice."""
    without_pause: list[str]
    """Recordings prepared now that lost speech in which nobody pauses."""
    silent: list[str]
    """Recordings prepared now that gave no clip."""
    changed: list[str]
    """Recordings that changed since they were prepared, and were left alone."""
    failed: list[str]
    """Recordings that cannot be used."""
    layouts: list[str]
    """How the folder of recordings is laid out, as far as that is known."""
    edited: int
    """Edits taken in now."""


def run(settings: PrepareSettings, reporter: Reporter) -> PrepareResult:
    """Make a data set of the recordings in `settings.raw`, or add to it.

    Raises:
        UsageError: the folders overlap, a file that is not ours would be replaced, or a package is missing.
        DataError: no recordings, none of them can be used, or the data set's record is damaged.
        CheckpointError, DownloadError, DeviceError: a model cannot be had or used.
        StorageError: the disk is full or the data set cannot be written.
        StopRequested: asked to stop; what is finished is kept.
    """
    if settings.raw is None and settings.edits is None:
        raise UsageError(
            "Nothing says what is to be prepared.", "Name a folder of recordings: fishtune prepare RAW OUT"
        )
    finish(settings.out)
    result = _nothing(settings.out)
    if settings.raw is not None:
        result = _prepare(settings, settings.raw, reporter)
    if settings.edits is not None:
        result.edited = _take_edits(settings.out, settings.edits, reporter)
    return result


def _take_edits(out: Path, file: Path, reporter: Reporter) -> int:
    """Take in a file of edits and return how many there were."""
    edits = read_edits(read_json(file), str(file))
    record = read_prepared(out) or PreparedData()
    if edits and record.edits[-len(edits) :] == tuple(edits):
        reporter.warn("The edits of {file} are in the data set already.", file=file)
        return 0
    add_edits(out, edits)
    return len(edits)


def _prepare(settings: PrepareSettings, raw: Path, reporter: Reporter) -> PrepareResult:
    _refuse_overlap(raw, settings.out)
    found = find_sources(raw, settings.speaker)
    for layout in found.layouts:
        reporter.log(f"Found in {raw}: {layout}")
    check_writable(settings.out / "prepare.json")
    sweep_temporary(settings.out)
    record = read_prepared(settings.out) or PreparedData()
    with Journal(settings.out) as journal:
        if settings.overwrite:
            record = _forget(settings, record, found, journal)
        todo, changed = _tasks(found, record)
        result = _prepare_all(settings, record, todo, journal, reporter)
    result.current = len(found.sources) - len(todo) - len(changed)
    result.changed, result.layouts = changed, found.layouts
    if not result.failed:
        journal.path.unlink(missing_ok=True)
    if result.failed and not result.prepared and not result.current:
        raise DataError(
            plural(
                len(result.failed),
                "The recording in {raw} cannot be used.",
                "None of the {number} recordings in {raw} can be used.",
                raw=raw,
            ),
            "What is wrong is said above.",
        )
    _warn(result, found, reporter)
    return result


def _prepare_all(
    settings: PrepareSettings, record: PreparedData, todo: list[Task], journal: Journal, reporter: Reporter
) -> PrepareResult:
    result = _nothing(settings.out)
    ears = Ears(settings, reporter)
    if todo and settings.keep_voice is not None:
        ears.check_wanted()
    preparation = Preparation(settings, journal, ears, reporter)
    lengths = [_seconds(task.source.path) for task in todo]
    meter = ProgressMeter(reporter, "preparing", sum(lengths), "s")
    with _RecordKeeper(settings.out, record) as keeper:
        for task, length in zip(todo, lengths, strict=True):
            share = _Share(meter, length, task.source.path.name)
            reporter.check_stop("What is finished is kept; the same command continues.")
            try:
                with readable(task.source.path, settings.out) as path:
                    done = preparation.prepare(task, path, share.advance)
            except DataError as error:
                reporter.emit(ItemFailed(item=task.source.relative, message=error.message, hint=error.hint))
                result.failed.append(task.source.relative)
            else:
                keeper.add(done)
                _count(result, done)
                if all(clip.origin is not WordsFrom.GIVEN for clip in done.clips):
                    kept = sum(clip.end - clip.start for clip in done.clips)
                    made, whole = format_duration(kept), format_duration(done.seconds)
                    reporter.log(f"{done.source}: {format_count(len(done.clips), 'clip')}, {made} of {whole}")
            share.finish()
    return result


class _RecordKeeper:
    """Writes the record as recordings are done: at the end, and every few seconds on the way.

    A killed run prepares again what the last seconds brought, from the journal where it was heard.
    """

    def __init__(self, data: Path, record: PreparedData) -> None:
        self._data, self._record = data, record
        self._added: list[PreparedRecording] = []
        self._written_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

    def add(self, done: PreparedRecording) -> None:
        """Take a recording into the record."""
        self._added.append(done)
        if time.monotonic() - self._written_at > _RECORD_SECONDS:
            self._write()

    def _write(self) -> None:
        if self._added:
            self._record, self._added = self._record.with_recordings(self._added), []
            write_prepared(self._data, self._record)
        self._written_at = time.monotonic()


def _nothing(out: Path) -> PrepareResult:
    return PrepareResult(
        out=out,
        prepared=0,
        current=0,
        clips=0,
        seconds=0.0,
        recorded_seconds=0.0,
        left_out=0,
        other_voices=[],
        without_pause=[],
        silent=[],
        changed=[],
        failed=[],
        layouts=[],
        edited=0,
    )


class _Share:
    """One recording's part of the progress: what is silent in it counts once it is done."""

    def __init__(self, meter: ProgressMeter, seconds: float, name: str) -> None:
        self._meter, self._left, self._name = meter, seconds, name

    def advance(self, seconds: float) -> None:
        """Count seconds that were listened to, at most as many as the recording has."""
        counted = min(seconds, self._left)
        self._left -= counted
        self._meter.advance(counted, self._name)

    def finish(self) -> None:
        """Count the rest."""
        self.advance(self._left)


def _count(result: PrepareResult, done: PreparedRecording) -> None:
    result.prepared += 1
    result.clips += len(done.clips)
    result.seconds += sum(clip.end - clip.start for clip in done.clips)
    result.recorded_seconds += done.seconds
    result.left_out += done.left_out
    if done.other_voices:
        result.other_voices.append(done.source)
    if done.without_pause:
        result.without_pause.append(done.source)
    if not done.clips:
        result.silent.append(done.source)


def _tasks(found: Found, record: PreparedData) -> tuple[list[Task], list[str]]:
    """Return the recordings to be prepared, and the paths of those that changed since they were."""
    known = {recording.source: recording for recording in record.recordings}
    present = {source.relative for source in found.sources}
    moved = {recording.digest for recording in record.recordings if recording.source not in present}
    cut = {_base(clip.clip) for clip in record.made if clip.origin is not WordsFrom.GIVEN}
    names = _Names(cut | {clip.clip for clip in record.made})
    todo: list[Task] = []
    changed: list[str] = []
    for source in found.sources:
        digest = content_digest(source.path)
        before = known.get(source.relative)
        if before is not None and before.digest != digest:
            changed.append(source.relative)
        elif before is None and digest not in moved:
            todo.append(Task(source, digest, names.take(f"{source.speaker}/{source.name}")))
    return todo, changed


class _Names:
    """Names of clips, and of recordings whose clips get numbers behind them."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self._bases = set(map(_base, self._names))

    def take(self, name: str) -> str:
        """Return the name, or where it could become that of another's clip the next one that is free."""
        tried = (name, *(f"{name}_{number}" for number in range(2, len(self._names) + 3)))
        free = next(each for each in tried if self._is_free(each))
        self._names.add(free)
        self._bases.add(_base(free))
        return free

    def _is_free(self, name: str) -> bool:
        return name not in self._names and name not in self._bases and _base(name) not in self._names


def _base(clip: str) -> str:
    """Return the name that a clip's number was put behind; a name without a number is its own."""
    name, _, number = clip.rpartition("-")
    return name if number.isdecimal() and len(number) >= 4 else clip


def _forget(settings: PrepareSettings, record: PreparedData, found: Found, journal: Journal) -> PreparedData:
    """Return the record without the recordings that are there; their clips' files are removed."""
    if record.edits:
        raise UsageError(
            "{out} has corrections, which --overwrite would lose.", "Name another folder.", out=settings.out
        )
    again = {source.relative for source in found.sources}
    clips = [clip.clip for known in record.recordings if known.source in again for clip in known.clips]
    files = [f"{clip}{ending}" for clip in clips for ending in (*AUDIO_EXTENSIONS, TEXT_EXTENSION)]
    journal.announce(files)  # a run that is killed here continues as if they had never been there
    forgotten = record.without(again)
    write_prepared(settings.out, forgotten)
    for file in files:
        (settings.out / file).unlink(missing_ok=True)
    return forgotten


def _seconds(path: Path) -> float:
    """Return how long a recording is, or about, where that is not known yet."""
    if path.suffix.lower() in READ:
        try:
            return read_info(path).seconds
        except (DataError, StorageError):
            return 0.0
    return path.stat().st_size / _BYTES_PER_SECOND


def _refuse_overlap(raw: Path, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError("{out} is a file.", "Name a folder for the data set.", out=out)
    from_, to = raw.resolve(), out.resolve()
    if from_ == to or from_ in to.parents or to in from_.parents:
        raise UsageError(
            "{out} and {raw} lie in one another; recordings are never written.",
            "Name a folder beside it, for example: fishtune prepare recordings data",
            out=out,
            raw=raw,
        )


def _warn(result: PrepareResult, found: Found, reporter: Reporter) -> None:
    if result.changed:
        reporter.warn(
            "{files}: changed since it was prepared, and left alone.",
            "Its clips may have been corrected by hand; --overwrite prepares everything anew.",
            files=named(result.changed),
        )
    if result.silent:
        reporter.warn(
            "{files}: no clip came of it.",
            "Listen to it; nothing may be said there.",
            files=named(result.silent),
        )
    if result.without_pause:
        reporter.warn(
            "{files}: speech without a pause is longer than a clip and was left out.",
            "Give a larger --longest, or look for music and noise in the background.",
            files=named(result.without_pause),
        )
    if found.ambiguous:
        reporter.warn(
            plural(
                len(found.ambiguous),
                "A table names {names}, which several recordings are called.",
                "Tables name {names}, each of which several recordings are called.",
                names=first_of(found.ambiguous, _SHOWN),
            ),
            "Write the recordings' folders into the table, too.",
        )
