"""Checks a data set before hours are spent on it: layout, transcripts, recordings, totals.

Nothing is written. Every recording is decoded once, in parallel; one that its header already rules out
is not decoded.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from ...audio.levels import decibels, loudness, outline, peak
from ...audio.mixing import mix
from ...audio.recordings import read_channels
from ...codec.config import LONGEST_SECONDS as LONGEST_SECONDS
from ...config.settings import ValidateSettings
from ...dataset.clips import Clip
from ...dataset.findings import Finding, FindingKind, Severity, warning
from ...dataset.layout import scan
from ...dataset.origins import inputs_digest
from ...errors import DataError, FishtuneError, StorageError, UsageError
from ...events import ProgressMeter, Reporter
from ...reading import read_regular
from ...text.cleaning import packed_text, stripped_parts
from ...text.transcripts import LARGEST_TRANSCRIPT
from ...units import format_duration
from ...workers import ordered_map
from .clips import check_clip
from .listen import ListenedClip, Listening, listen

LARGEST_SPREAD = 3.0
"""LU between the loudest and the quietest recording."""
LEAST_SECONDS = 600.0
# A clip read at twice or half its speaker's median pace usually has another clip's transcript.
_FASTEST, _SLOWEST = 2.0, 0.5
_CLIPS_FOR_A_MEDIAN = 5
# What nobody says in a second: the fastest speech is 9 to 12 syllables, of 2 to 3 letters each. One sign of
# Hangul, kana or Chinese is a syllable.
_MOST_LETTERS, _MOST_SYLLABLES = 40.0, 15.0
# A clip of some seconds with hardly any text lacks words, however slow its speaker and long his pauses are.
_LEAST_LETTERS, _LETTERS_PER_SYLLABLE, _SECONDS_TO_SPEAK = 1.0, 2.5, 5.0
_LEAST_CHUNK, _LARGEST_CHUNK = 8, 64  # clips
_CHUNKS = 100


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
    usable: int
    """Clips with a sound transcript, and with a recording that can be read or codes that are there."""
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


@dataclass(slots=True)
class _Checked:
    """What checking one clip by itself gave."""

    clip: Clip
    findings: list[Finding]
    letters: int
    syllables: int
    """Those of the letters that are whole syllables."""
    seconds: float
    loudness: float | None
    digest: bytes

    @property
    def audio(self) -> Path:
        return self.clip.audio[0]


def run(settings: ValidateSettings, reporter: Reporter) -> ValidationReport:
    """Check the data set `settings.data` and return what was found.

    Raises:
        DataError: the folder does not exist or cannot be listed.
        StopRequested: asked to stop.
    """
    found = scan(settings.data, settings.text_extension, settings.exclude)
    source = inputs_digest(found, settings.exclude, settings.text_extension)
    meter = ProgressMeter(reporter, "checking", len(found.clips), "clips")
    checked: list[_Checked] = []
    findings = list(found.problems)
    with closing(ordered_map(check_clip, found.clips, settings.num_workers, _chunk(found.clips))) as results:
        for clip, (text, audio) in zip(found.clips, results, strict=True):
            reporter.check_stop()
            meter.advance()
            own = text.findings + audio.findings
            findings += own
            checked.append(
                _Checked(clip, own, text.letters, text.syllables, audio.seconds, audio.loudness, audio.digest)
            )
    readable = [item for item in checked if item.seconds]
    findings += _same_audio(readable) + _spread(settings.data, readable) + _reading_speed(readable)
    findings += _amount(settings.data, readable)
    listening = Listening([], [])
    if settings.listen:
        sound = [item.clip for item in checked if item.seconds and _is_usable(item)]
        listening = listen(settings, sound, reporter)
        findings += listening.findings
    order = list(FindingKind)
    findings.sort(key=lambda f: (f.severity is not Severity.ERROR, order.index(f.code), f.path.parts))
    return ValidationReport(
        data=settings.data,
        clips=len(found.clips),
        usable=sum(map(_is_usable, checked)),
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
    transcript, audio = check_clip(clip)
    detail = ClipDetail(clip=key, text=clip.text, findings=transcript.findings + audio.findings)
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


def _is_usable(checked: _Checked) -> bool:
    clip = checked.clip
    if clip.text is None or not (checked.seconds or clip.codes):
        return False
    return not any(
        finding.severity is Severity.ERROR and finding.path == clip.text for finding in checked.findings
    )


def _same_audio(checked: list[_Checked]) -> list[Finding]:
    groups: dict[bytes, list[_Checked]] = defaultdict(list)
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


def _spread(data: Path, checked: list[_Checked]) -> list[Finding]:
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


def _reading_speed(checked: list[_Checked]) -> list[Finding]:
    """Find clips whose text does not fit their length: nobody speaks so, or not their speaker."""
    speakers: dict[str, list[tuple[float, _Checked]]] = defaultdict(list)
    findings = []
    for item in checked:
        if not item.letters:
            continue
        if impossible := _impossible_pace(item):
            findings.append(impossible)
            continue
        speakers[item.clip.speaker].append((item.letters / item.seconds, item))
    for speeds in speakers.values():
        if len(speeds) < _CLIPS_FOR_A_MEDIAN:
            continue
        usual = median(speed for speed, _ in speeds)
        findings += [
            warning(
                FindingKind.READING_SPEED,
                item.audio,
                "{clip} has {speed:.1f} letters per second, its speaker usually {usual:.1f}.",
                "Compare transcript and recording: words may be missing, or belong to another clip.",
                clip=item.clip.key,
                speed=speed,
                usual=usual,
            )
            for speed, item in speeds
            if not _SLOWEST <= speed / usual <= _FASTEST
        ]
    return findings


def _impossible_pace(item: _Checked) -> Finding | None:
    """Return what is wrong with a clip that nobody can have spoken, whoever else speaks in its data set."""
    letters = item.letters - item.syllables
    if letters / _MOST_LETTERS + item.syllables / _MOST_SYLLABLES > item.seconds:
        return warning(
            FindingKind.READING_SPEED,
            item.audio,
            "{clip} has {letters} letters in {seconds:.2f} s, more than anybody can say.",
            "Compare transcript and recording: it may be cut short, or the words belong to another clip.",
            clip=item.clip.key,
            letters=item.letters,
            seconds=item.seconds,
        )
    weight = letters + _LETTERS_PER_SYLLABLE * item.syllables
    if item.seconds > _SECONDS_TO_SPEAK and weight / item.seconds < _LEAST_LETTERS:
        return warning(
            FindingKind.READING_SPEED,
            item.audio,
            "{clip} has only {letters} letters in {seconds:.1f} s.",
            "Compare transcript and recording: words may be missing, or belong to another clip.",
            clip=item.clip.key,
            letters=item.letters,
            seconds=item.seconds,
        )
    return None


def _amount(data: Path, checked: list[_Checked]) -> list[Finding]:
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


def _totals(speakers: list[str], checked: list[_Checked]) -> list[RecordedSpeaker]:
    by_speaker: dict[str, list[_Checked]] = {speaker: [] for speaker in speakers}
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
