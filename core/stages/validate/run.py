"""Checks a data set before hours are spent on it: layout, transcripts, recordings, totals.

Nothing is written. Every recording is decoded once, in parallel; one that its header already rules out
is not decoded.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from ...audio.levels import decibels, loudness, outline, peak
from ...audio.mixing import mix
from ...audio.recordings import read_channels
from ...codec.config import LONGEST_SECONDS as LONGEST_SECONDS
from ...config.settings import ValidateSettings
from ...dataset.clips import Clip
from ...dataset.findings import Finding, FindingKind, Severity, clip_of, warning
from ...dataset.layout import scan
from ...dataset.origins import inputs_digest
from ...dataset.rows import ClipRow
from ...dataset.usage import DropReason, Usage
from ...errors import DataError, FishtuneError, StorageError, UsageError
from ...events import ClipsListed, ProgressMeter, Reporter
from ...reading import read_regular
from ...text.cleaning import packed_text, stripped_parts
from ...text.transcripts import LARGEST_TRANSCRIPT
from ...units import format_duration
from ...workers import ordered_map, seldom_searched
from .clips import Checked, check_clip
from .listen import ListenedClip, Listening, listen
from .pace import reading_speed

LARGEST_SPREAD = 3.0
"""LU between the loudest and the quietest recording."""
LEAST_SECONDS = 600.0
_LEAST_CHUNK, _LARGEST_CHUNK = 8, 64  # clips
_CHUNKS = 100
_LISTED_TOGETHER = 100  # clips in one event: what reads them holds one at a time


class RecordedSpeaker(BaseModel):
    """What there is of a speaker. Recordings that cannot be read do not count."""

    speaker: str
    clips: int
    seconds: float
    median_seconds: float
    longest_seconds: float
    loudness: float | None
    """Median of the clips, LUFS; None where nothing could be measured."""
    quietest: float | None
    loudest: float | None


class ValidationReport(BaseModel):
    """Result of `run`."""

    data: Path
    clips: int
    """That were looked at: all but those to be left out."""
    usable: int
    """Those of them that will be used."""
    usage: Usage
    """The count over all clips."""
    dropped: dict[str, DropReason]
    """Why a clip, `SPEAKER/NAME`, will not be used."""
    seconds: float
    speakers: list[RecordedSpeaker]
    findings: list[Finding]
    """Worst first."""
    source: str = ""
    """`inputs_digest` of what was checked."""
    listened: list[ListenedClip] = []
    """What listening gave, most errors first; empty where nobody listened."""
    not_judged: list[str] = []
    """What listening left out and why, each a sentence."""

    @property
    def errors(self) -> int:
        """Number of findings that keep something from being used."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)


class ClipDetail(BaseModel):
    """All that can be said about one clip, for a closer look."""

    clip: str
    """`SPEAKER/NAME`."""
    audio: Path | None = None
    text: Path | None = None
    dropped: DropReason | None = None
    """Why it will not be used; None = it will, unless it is left out by choice."""
    transcript: str = ""
    """As it is in the file."""
    packed: str = ""
    """As training will see it."""
    stripped: list[str] = []
    """What packing takes out: `{…}` and `<…>`."""
    seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    loudness: float | None = None
    """LUFS; None for silence or where nothing could be read."""
    peak: float | None = None
    """dBFS."""
    outline: list[float] = []
    """Peaks of equal parts, 0 … 1."""
    findings: list[Finding] = []


@seldom_searched()
def run(settings: ValidateSettings, reporter: Reporter) -> ValidationReport:
    """Check the data set `settings.data` and return what was found.

    Raises:
        DataError: the folder does not exist or cannot be listed.
        StopRequested: asked to stop.
    """
    found = scan(settings.data, settings.text_extension, settings.exclude)
    source = inputs_digest(found, settings.text_extension)
    meter = ProgressMeter(reporter, "checking", len(found.clips), "clips")
    checked: list[Checked] = []
    findings = list(found.problems)  # about more than one clip, or about what is none
    with closing(ordered_map(check_clip, found.clips, settings.num_workers, _chunk(found.clips))) as results:
        for clip, found_there in zip(found.clips, results, strict=True):
            reporter.check_stop()
            meter.advance()
            checked.append(Checked.of(clip, found_there))
    readable = [item for item in checked if item.seconds]
    findings += _same_audio(readable) + _spread(settings.data, readable) + reading_speed(readable)
    findings += _amount(settings.data, readable)
    listening = Listening([], [])
    if settings.listen:
        sound = [item.clip for item in checked if item.seconds and item.dropped is None]
        listening = listen(settings, sound, reporter)
        findings += listening.findings
    _list_clips(settings.data, checked, found.excluded, findings, reporter)
    findings += [finding for item in checked for finding in item.findings]
    order = {kind: place for place, kind in enumerate(FindingKind)}
    findings.sort(key=lambda f: (f.severity is not Severity.ERROR, order[f.code], f.path.parts))
    dropped = {item.clip.key: item.dropped for item in checked if item.dropped is not None}
    usage = Usage.of(
        len(found.clips) + len(found.excluded),
        [*dropped.values(), *[DropReason.EXCLUDED] * len(found.excluded)],
    )
    return ValidationReport(
        data=settings.data,
        clips=len(found.clips),
        usable=usage.used,
        usage=usage,
        dropped=dropped,
        seconds=sum(item.seconds for item in readable),
        speakers=_totals(found.speakers, readable),
        findings=findings,
        source=source,
        listened=listening.clips,
        not_judged=listening.not_judged,
    )


def inspect_clip(data: Path, key: str, text_extension: str, points: int) -> ClipDetail:
    """Return all that can be said about the clip `key` (`SPEAKER/NAME`) of a data set.

    Args:
        points: of the outline.

    Raises:
        DataError: the folder cannot be listed.
        UsageError: there is no such clip.
    """
    clips = {clip.key: clip for clip in scan(data, text_extension).clips}
    if key not in clips:
        raise UsageError(
            "{data} has no clip {clip}.",
            "Name it as SPEAKER/NAME, without an extension.",
            data=data,
            clip=repr(key),
        )
    clip = clips[key]
    checked = check_clip(clip)
    own = checked.transcript.findings + checked.audio.findings
    detail = ClipDetail(clip=key, text=clip.text, dropped=checked.dropped, findings=own)
    if clip.text is not None:
        with contextlib.suppress(FishtuneError):  # a finding says so
            content = read_regular(clip.text, LARGEST_TRANSCRIPT)
            detail.transcript = content.decode("utf-8-sig", errors="replace")
        detail.packed = packed_text(detail.transcript)
        detail.stripped = stripped_parts(detail.transcript)
    if clip.audio:
        detail.audio = clip.audio[0]
        try:
            samples, rate = read_channels(clip.audio[0])
        except (DataError, StorageError):
            return detail  # a finding says so
        mono = mix(samples, rate).samples[:, None]
        level = loudness(mono, rate)
        detail.seconds, detail.sample_rate, detail.channels = len(samples) / rate, rate, samples.shape[1]
        detail.loudness = level if math.isfinite(level) else None
        detail.peak = decibels(peak(mono)) if mono.any() else None
        detail.outline = outline(mono, points)
    return detail


def _chunk(clips: list[Clip]) -> int:
    """Return how many clips to check at a time, so that all workers end together and talk little."""
    return min(max(len(clips) // _CHUNKS, _LEAST_CHUNK), _LARGEST_CHUNK)


def _list_clips(
    data: Path, checked: list[Checked], excluded: list[Clip], others: list[Finding], reporter: Reporter
) -> None:
    """Tell what was found of every clip, for lists of all of them.

    Args:
        others: findings that checking clips by themselves did not give.
    """
    concerned = Counter(clip_of(finding.path, data) for finding in others)
    rows = [
        ClipRow(
            item.clip.key,
            item.seconds,
            item.loudness,
            item.letters,
            item.text,
            item.dropped,
            len(item.findings) + concerned[item.clip.key],
        )
        for item in checked
    ]
    rows += [ClipRow(clip.key, dropped=DropReason.EXCLUDED) for clip in excluded]
    for begin in range(0, len(rows), _LISTED_TOGETHER):
        part = rows[begin : begin + _LISTED_TOGETHER]
        reporter.emit(ClipsListed(clips=[row.as_json() for row in part]))


def _same_audio(checked: list[Checked]) -> list[Finding]:
    groups: dict[bytes, list[Checked]] = defaultdict(list)
    for item in checked:
        groups[item.digest].append(item)
    return [
        warning(
            FindingKind.SAME_AUDIO,
            again.audio,
            "{clip} is the same recording as {other}.",
            "Keep one of them: a duplicate counts twice and may land in both training and held-out data.",
            clip=again.clip.key,
            other=group[0].clip.key,
        )
        for group in groups.values()
        for again in group[1:]
    ]


def _spread(data: Path, checked: list[Checked]) -> list[Finding]:
    measured = [(item.loudness, item) for item in checked if item.loudness is not None]
    if len(measured) < 2:
        return []
    (low, quiet), (high, loud) = (choose(measured, key=lambda pair: pair[0]) for choose in (min, max))
    if high - low <= LARGEST_SPREAD:
        return []
    return [
        warning(
            FindingKind.LOUDNESS_SPREAD,
            data,
            "Loudness differs by {difference:.1f} LU: {quiet} has {low:.1f} LUFS, {loud} has {high:.1f}.",
            "Bring all to one loudness: fishtune loudness-norm {data} {data}-normalised",
            difference=high - low,
            quiet=quiet.clip.key,
            low=low,
            loud=loud.clip.key,
            high=high,
            data=data,
        )
    ]


def _amount(data: Path, checked: list[Checked]) -> list[Finding]:
    seconds = sum(item.seconds for item in checked)
    if not checked or seconds >= LEAST_SECONDS:
        return []
    return [
        warning(
            FindingKind.TOO_LITTLE,
            data,
            "There are {duration} of speech in all.",
            "10 minutes is the practical minimum; 30 to 60 work well.",
            duration=format_duration(seconds),
        )
    ]


def _totals(speakers: list[str], checked: list[Checked]) -> list[RecordedSpeaker]:
    by_speaker: dict[str, list[Checked]] = {speaker: [] for speaker in speakers}
    for item in checked:
        by_speaker[item.clip.speaker].append(item)
    totals = []
    for speaker, clips in by_speaker.items():
        levels = [item.loudness for item in clips if item.loudness is not None]
        totals.append(
            RecordedSpeaker(
                speaker=speaker,
                clips=len(clips),
                seconds=sum(item.seconds for item in clips),
                median_seconds=median(item.seconds for item in clips) if clips else 0.0,
                longest_seconds=max((item.seconds for item in clips), default=0.0),
                loudness=median(levels) if levels else None,
                quietest=min(levels, default=None),
                loudest=max(levels, default=None),
            )
        )
    return totals
