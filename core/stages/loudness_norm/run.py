"""Brings all recordings to one loudness, into a new folder; the source is only read.

File names and containers stay, so that transcripts and layout still fit (an mp3 is encoded again, at the
best quality). Gain is one factor a recording: dynamics stay. Where the factor would push a peak past the
limit, the recording stays quieter rather than being squeezed.
Loudness is that of the mono mix; the channels are kept.

A journal in the target lists every file before it is written and again once it is. So this command knows its
own files after a crash too, goes on where it was, and never replaces or removes anybody else's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ...audio.mixing import Mixing, warn_of_channels
from ...config.settings import LoudnessNormSettings
from ...dataset.clips import Scan
from ...dataset.findings import Finding
from ...dataset.journal import JOURNAL_FILE, LARGEST_JOURNAL
from ...dataset.layout import scan
from ...errors import DataError, MalformedFileError, UsageError
from ...events import ItemFailed, ProgressMeter, Reporter
from ...files import size_and_time, storage_errors, sweep_targets, write_bytes
from ...messages import Message, first_of, named, plural
from ...reading import read_regular
from ...terminal import shell_quoted
from ...workers import ordered_map
from .normalise import Made, normalised, read_content

_CHUNK = 4  # clips
# Of what is measured: 1 = the mono mix. Copies made by another measure are made again.
_MEASURE = 1


class LoudnessResult(BaseModel):
    """Result of `run`. Names are relative to the target."""

    target: Path
    written: int
    """Recordings normalised now."""
    current: int
    """Recordings that were done already."""
    transcripts: int
    """Transcripts copied now."""
    quieter: list[str]
    """Recordings whose peaks kept them below the loudness asked for."""
    silent: list[str]
    """Recordings copied as they are, because amplifying them would only bring up noise."""
    failed: list[str]
    left_out: list[Finding] = []
    """What lies in the source and is not a clip, such as recordings that lie too deep."""
    orphans: list[str]
    """Files of earlier runs whose source is gone; `--clean` removes them."""
    one_sided: list[str] = []
    """Recordings written now with the voice on some channels only, which alone were measured."""
    opposite_phase: list[str] = []
    """Recordings written now whose channels cancel each other; one of them was measured."""


class _Entry(BaseModel):
    """A line of the journal: a file of ours. Without `written`, its writing was about to begin."""

    file: str
    """Relative to the target, with `/`."""
    source: tuple[int, int] = (0, 0)
    """Size and modification time (ns) of what it was made from."""
    loudness: float = 0.0
    peak: float = 0.0
    measure: int = 0
    written: tuple[int, int] | None = None
    """Size and modification time (ns) of the file itself."""
    failed: bool = False
    """Whether the source could not be read."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to make."""

    source: Path
    target: Path
    file: str
    is_text: bool


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of a job."""

    job: _Job
    entry: _Entry | None = None
    failure: DataError | None = None
    is_quieter: bool = False
    is_silent: bool = False
    mixing: Mixing = Mixing.MEAN


def run(settings: LoudnessNormSettings, reporter: Reporter) -> LoudnessResult:
    """Write normalised copies of all recordings, and their transcripts, into `settings.target`.

    Recordings that cannot be read are reported and left out; what is up to date is not made again.

    Raises:
        UsageError: target and source overlap, or the target has files that would be replaced or removed
            and are not this command's own.
        DataError: no recordings, or none of them can be read.
        StorageError: the disk is full or the target cannot be written.
        StopRequested: asked to stop; what is finished is kept.
    """
    _refuse_target(settings.source, settings.target)
    found = scan(settings.source, settings.text_extension)
    for finding in found.left_out:
        reporter.warn(finding.what, finding.what_to_do)
    jobs = _jobs(found, settings.target)
    if not any(not job.is_text for job in jobs):
        raise DataError(
            "{source} has no speaker folder with recordings.",
            "Check it first with: fishtune validate {quoted}",
            source=settings.source,
            quoted=shell_quoted(settings.source),
        )
    entries = _read_journal(settings.target)
    sweep_targets(job.target for job in jobs)
    if settings.clean:
        _clean(settings.target, entries)
        entries = {}
    _refuse_foreign(jobs, entries)
    pending = [job for job in jobs if not _is_current(job, entries, settings)]
    result = LoudnessResult(
        target=settings.target,
        written=0,
        current=sum(not job.is_text for job in jobs) - sum(not job.is_text for job in pending),
        transcripts=0,
        quieter=[],
        silent=[],
        failed=[],
        left_out=found.left_out,
        orphans=sorted(entries.keys() - {job.file for job in jobs}),
    )
    _work(pending, entries, settings, reporter, result)
    if result.failed and not result.written and not result.current:
        raise DataError(
            plural(
                len(result.failed),
                "The recording in {source} cannot be read.",
                "None of the {number} recordings in {source} can be read.",
                source=settings.source,
            ),
            "See why with: fishtune validate {quoted}",
            quoted=shell_quoted(settings.source),
        )
    _warn(result, settings, reporter)
    _warn_of_texts(found, reporter)
    return result


def _work(
    pending: list[_Job],
    entries: dict[str, _Entry],
    settings: LoudnessNormSettings,
    reporter: Reporter,
    result: LoudnessResult,
) -> None:
    journal = settings.target / JOURNAL_FILE
    known = {**entries, **{job.file: _Entry(file=job.file) for job in pending}}
    write_bytes(journal, b"".join(_line(entry) for entry in known.values()))
    meter = ProgressMeter(reporter, "normalising", len(pending), "files")
    make = partial(_make, loudness_target=settings.loudness, peak_limit=settings.peak)
    with (
        storage_errors(journal),
        journal.open("ab", buffering=0) as log,
        closing(ordered_map(make, pending, settings.num_workers, _CHUNK)) as results,
    ):
        for done in results:
            meter.advance()
            if done.entry is not None:
                log.write(_line(done.entry))
            if done.failure is not None:
                log.write(_line(_Entry(file=done.job.file, failed=True)))
                result.failed.append(done.job.file)
                reporter.emit(
                    ItemFailed(item=done.job.file, message=done.failure.message, hint=done.failure.hint)
                )
            elif done.job.is_text:
                result.transcripts += 1
            else:
                result.written += 1
            if done.is_quieter:
                result.quieter.append(done.job.file)
            if done.is_silent:
                result.silent.append(done.job.file)
            if done.mixing is Mixing.ONE_SIDED:
                result.one_sided.append(done.job.file)
            if done.mixing is Mixing.OPPOSITE_PHASE:
                result.opposite_phase.append(done.job.file)
            reporter.check_stop("What is finished is kept; the same command (without --clean) continues.")


def _warn(result: LoudnessResult, settings: LoudnessNormSettings, reporter: Reporter) -> None:
    if result.quieter:
        reporter.warn(
            "{files}: left below {loudness:g} LUFS, as peaks would pass {peak:g} dBFS.",
            "Choose a lower --loudness if all must be equal.",
            files=named(result.quieter),
            loudness=settings.loudness,
            peak=settings.peak,
        )
    if result.silent:
        reporter.warn(
            "{files}: nearly silent and not amplified.", "Listen to them.", files=named(result.silent)
        )
    warn_of_channels(reporter, result.one_sided, result.opposite_phase)
    if result.orphans:
        reporter.warn(
            "{files}: still in {target} though the source is gone.",
            "Remove what you do not want; --clean starts over.",
            files=named(result.orphans),
            target=settings.target,
        )


def _warn_of_texts(found: Scan, reporter: Reporter) -> None:
    left = [clip for clip in found.clips if clip.audio and clip.other_text is not None]
    if left:
        reporter.warn(
            "{files}: what may be the transcript is not copied.",
            left[0].text_advice,
            files=named([clip.key for clip in left]),
        )


def _refuse_target(source: Path, target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError("{target} is a file.", "Name a folder for the normalised copies.", target=target)
    from_, to = source.resolve(), target.resolve()
    if from_ == to or to in from_.parents:
        raise UsageError(
            (
                Message("{target} is the source, which is never written.", target=target)
                if from_ == to
                else Message("{target} contains the source, which is never written.", target=target)
            ),
            "Name another folder, for example: fishtune loudness-norm data-raw data",
        )
    if from_ in to.parents:
        raise UsageError(
            "{target} lies inside the source, where it would be taken for a speaker.",
            "Name a folder beside it, for example: fishtune loudness-norm data-raw data",
            target=target,
        )


def _jobs(found: Scan, target: Path) -> list[_Job]:
    """Return the files to make: every recording, and the transcripts of those."""
    jobs = []
    for clip in found.clips:
        jobs += [_job(clip.folder, path, target, is_text=False) for path in clip.audio]
        if clip.audio and clip.text is not None:
            jobs.append(_job(clip.folder, clip.text, target, is_text=True))
    return jobs


def _job(folder: str, source: Path, target: Path, *, is_text: bool) -> _Job:
    return _Job(source, target / folder / source.name, f"{folder}/{source.name}", is_text)


def _read_journal(target: Path) -> dict[str, _Entry]:
    """Return this command's files in the target, by name."""
    entries = {}
    try:
        lines = read_regular(target / JOURNAL_FILE, LARGEST_JOURNAL, MalformedFileError).splitlines()
    except MalformedFileError:  # none, or nothing of ours: then no file there is
        return {}
    for line in lines:
        try:
            entry = _Entry.model_validate_json(line)
        except ValidationError:
            continue  # torn by a crash; the line before it says that the file is ours
        entries[entry.file] = entry
    return entries


def _line(entry: _Entry) -> bytes:
    return entry.model_dump_json().encode("utf-8") + b"\n"


def _is_current(job: _Job, entries: dict[str, _Entry], settings: LoudnessNormSettings) -> bool:
    entry = entries.get(job.file)
    if entry is None or entry.written is None:
        return False
    wanted = (settings.loudness, settings.peak, _MEASURE)
    same = job.is_text or (entry.loudness, entry.peak, entry.measure) == wanted
    return same and entry.source == size_and_time(job.source) and entry.written == size_and_time(job.target)


def _refuse_foreign(jobs: list[_Job], entries: dict[str, _Entry]) -> None:
    """Raise `UsageError` if a file that is to be written exists and is not ours as we left it."""
    present = [job for job in jobs if job.target.exists()]
    foreign = [job.target for job in present if not _is_ours(job.target, entries.get(job.file))]
    if foreign:
        raise UsageError(
            "{fault} and would be replaced.",
            "Name an empty folder, or move those files away.",
            fault=_foreign(foreign),
        )


def _is_ours(path: Path, entry: _Entry | None) -> bool:
    return entry is not None and entry.written in (None, size_and_time(path))


def _foreign(paths: list[Path]) -> Message:
    return plural(
        len(paths),
        "{files} was not written by fishtune loudness-norm",
        "{files} were not written by fishtune loudness-norm",
        files=first_of(paths, 1),
    )


def _clean(target: Path, entries: dict[str, _Entry]) -> None:
    """Empty the target.

    Raises:
        UsageError: it holds something that this command did not write, or that was changed since.
    """
    files = {path.relative_to(target).as_posix(): path for path in _files(target)}
    foreign = [path for name, path in files.items() if not _is_ours(path, entries.get(name))]
    if foreign:
        raise UsageError(
            "{fault} (or was changed since); --clean would remove it.",
            "Run it without --clean, which only makes what is new or changed, or move such files away.",
            fault=_foreign(foreign),
        )
    with storage_errors(target):
        for path in files.values():
            path.unlink()
        folders = {folder for path in files.values() for folder in path.parents if target in folder.parents}
        for folder in sorted(folders, reverse=True):  # inner ones first
            if not any(folder.iterdir()):
                folder.rmdir()
        (target / JOURNAL_FILE).unlink(missing_ok=True)


def _files(target: Path) -> Iterator[Path]:
    """Yield all files in the target but our own book-keeping."""
    for folder, _, names in os.walk(target):
        for name in sorted(names):
            if not name.startswith(".fishtune"):
                yield Path(folder) / name


def _holds(path: Path, content: bytes) -> bool:
    """Return whether a file has this content; written again, it would look changed to what was made of it."""
    try:
        return path.stat().st_size == len(content) and read_content(path) == content
    except (OSError, DataError):
        return False


def _make(job: _Job, loudness_target: float, peak_limit: float) -> _Done:
    """Make one file."""
    source = size_and_time(job.source)
    made = Made(b"")
    try:
        if source is None:
            raise DataError(
                "{source} does not exist.", "It was there a moment ago; try again.", source=job.source
            )
        made = (
            Made(read_content(job.source))
            if job.is_text
            else normalised(job.source, loudness_target, peak_limit)
        )
    except DataError as failure:
        return _Done(job, failure=failure)
    if not _holds(job.target, made.content):
        write_bytes(job.target, made.content)
    entry = _Entry(
        file=job.file,
        source=source,
        loudness=loudness_target,
        peak=peak_limit,
        measure=_MEASURE,
        written=size_and_time(job.target),
    )
    return _Done(job, entry, is_quieter=made.is_quieter, is_silent=made.is_silent, mixing=made.mixing)
