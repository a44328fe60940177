"""Judging recordings: each is listened to on its own, then all are held against their voice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from ...audio.recordings import read_audio
from ...config.settings import JudgeSettings
from ...errors import DataError
from ...events import ItemFailed, ProgressMeter, Reporter
from ...judge.acoustics import SAMPLE_RATE
from ...judge.alignment import Alignment, Kind
from ...judge.differences import differences, letters_of_text
from ...judge.pitch import Pitch
from ...judge.record import SpeechFault
from ...judge.speaker import Embedding, similarity
from ...judge.verdict import Evidence, Voice, judge, voice_of
from ...judge.voices import shared_voice
from ...messages import Message, named
from .listening import Listeners, load_listeners
from .recordings import find_recordings, language_of, transcript_of

_STOPPED = Message("Nothing was written.")


class HeardDifference(BaseModel):
    """Words, or letters, that were not said as they are in the text."""

    expected: str
    heard: str
    start: float | None
    """When what was heard begins, seconds; None where nothing was."""


class JudgedClip(BaseModel):
    """One recording; numbers are None where nothing could measure them."""

    file: Path
    text: str | None
    """What it should say."""
    heard: str
    """What recognition heard."""
    seconds: float
    wer: float | None
    """Errors per word of the text; per letter in languages that are compared so."""
    deletions: int | None
    insertions: int | None
    substitutions: int | None
    differences: list[HeardDifference]
    """Where the words differ, in order."""
    similarity: float | None
    """To the reference's voice, else to the voice of the folder's other recordings; a cosine."""
    rate: float | None
    """Letters and digits heard per second of speech."""
    pitch: Pitch | None
    background: float | None
    """Opinion of the background that DNSMOS expects, 1 … 5."""
    findings: list[SpeechFault]
    """What is wrong; empty = it sounds right."""


class JudgeResult(BaseModel):
    """Result of `run`."""

    clips: list[JudgedClip]
    reference: Path | None
    language: str | None
    """None = that of each recording was recognised."""
    models: dict[str, str]
    """What listened: by what it judges, the model's name."""
    not_judged: list[str]
    """What was left out and why, each a sentence."""
    failed: list[str]
    """Recordings that could not be read."""


@dataclass(frozen=True)
class _Listened:
    path: Path
    text: str | None
    heard: str
    evidence: Evidence


def run(settings: JudgeSettings, reporter: Reporter) -> JudgeResult:
    """Judge recordings and return what was found. Writes nothing but models into the cache folder.

    Raises:
        UsageError: a path does not exist, or a model is not known.
        DataError: there is no recording, or none can be read, or the reference cannot.
        CheckpointError, DownloadError, DeviceError: a model that was asked for cannot be used.
        StopRequested: asked to stop.
    """
    paths = find_recordings(settings.paths)
    texts = {path: _text_of(path, reporter) for path in paths}
    silent = [str(path) for path, text in texts.items() if text is None]
    if silent:
        reporter.warn(
            "{silent}: words are not judged, for there is no transcript.",
            "Write what should be said into NAME.lab beside the recording.",
            silent=named(silent),
        )
    listeners = load_listeners(settings, language_of(texts.values()), reporter)
    reference = _reference(settings.reference, listeners) if settings.reference else None

    listened: list[_Listened] = []
    failed: list[str] = []
    meter = ProgressMeter(reporter, "listening", len(paths), "clips")
    for path in paths:
        reporter.check_stop(_STOPPED)
        try:
            samples = read_audio(path, SAMPLE_RATE)
        except DataError as error:
            reporter.emit(ItemFailed(item=str(path), message=error.message, hint=error.hint))
            failed.append(str(path))
        else:
            evidence, heard = listeners.listen(samples, texts[path])
            listened.append(_Listened(path, texts[path], heard, evidence))
        meter.advance(detail=path.name)
    if not listened:
        raise DataError(
            "None of {number} recordings can be read.",
            "See what is wrong with each above.",
            number=len(paths),
        )
    return JudgeResult(
        clips=_judged(listened, reference, reporter),
        reference=settings.reference,
        language=listeners.language,
        models=listeners.names,
        not_judged=list(listeners.not_judged),
        failed=failed,
    )


def _text_of(path: Path, reporter: Reporter) -> str | None:
    try:
        return transcript_of(path)
    except DataError as error:
        reporter.warn(error.message, error.hint)
        return None


def _reference(path: Path, listeners: Listeners) -> Evidence:
    return listeners.listen(read_audio(path, SAMPLE_RATE), transcript_of(path))[0]


def _judged(listened: list[_Listened], reference: Evidence | None, reporter: Reporter) -> list[JudgedClip]:
    """Return the recordings with what is wrong with each, those of one folder held against one another."""
    folders: dict[Path, list[_Listened]] = {}
    for one in listened:
        folders.setdefault(one.path.parent if reference is None else Path(), []).append(one)
    judged: dict[Path, JudgedClip] = {}
    for folder, clips in folders.items():
        if reference is not None:
            embeddings: list[Embedding | None] = [reference.embedding] * len(clips)
        else:
            embeddings = shared_voice([clip.evidence.embedding for clip in clips])
            if not any(voice is not None for voice in embeddings) and _can_compare(clips):
                reporter.warn(
                    "The recordings in {folder} have no voice in common: voices are not compared.",
                    "Give a recording of the right voice with --reference.",
                    folder=folder,
                )
        everyone = [clip.evidence for clip in clips]
        for clip, embedding in zip(clips, embeddings, strict=True):
            judged[clip.path] = _judge(clip, _voice(clip, everyone, embedding, reference))
    return [judged[one.path] for one in listened]


def _can_compare(clips: list[_Listened]) -> bool:
    return sum(clip.evidence.embedding is not None for clip in clips) > 2


def _voice(
    clip: _Listened, everyone: list[Evidence], embedding: Embedding | None, reference: Evidence | None
) -> Voice:
    own = [each for each in everyone if each is not clip.evidence]
    if reference is None:
        # Clips of a folder without a common voice are of several: none tells another's pace.
        return voice_of(own if embedding is not None else [], embedding)
    return voice_of([reference, *own], embedding, letters_of_text(reference.alignment))


def _judge(clip: _Listened, voice: Voice) -> JudgedClip:
    evidence = clip.evidence
    alignment = evidence.alignment if clip.text is not None else None
    alike = None
    if voice.embedding is not None and evidence.embedding is not None:
        alike = similarity(evidence.embedding, voice.embedding)
    return JudgedClip(
        file=clip.path,
        text=clip.text,
        heard=clip.heard,
        seconds=evidence.acoustics.seconds,
        wer=alignment.error_rate if alignment else None,
        deletions=alignment.count(Kind.DELETED) if alignment else None,
        insertions=alignment.count(Kind.INSERTED) if alignment else None,
        substitutions=alignment.count(Kind.SUBSTITUTED) if alignment else None,
        differences=_differences(evidence) if alignment else [],
        similarity=alike,
        rate=evidence.rate,
        pitch=evidence.pitch,
        background=evidence.background,
        findings=judge(evidence, voice),
    )


def _differences(evidence: Evidence) -> list[HeardDifference]:
    return [
        HeardDifference(
            expected=each.expected_text,
            heard=each.heard_text,
            start=evidence.starts[each.place] if each.place >= 0 else None,
        )
        for each in differences(evidence.alignment or Alignment(()))
    ]
