"""Judging recordings: each is listened to on its own, then all are held against their voice."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from ...audio.recordings import read_audio
from ...config.settings import JudgeSettings
from ...errors import DataError
from ...events import ItemFailed, ProgressMeter, Reporter
from ...hardware.device import usable_gpu
from ...judge.acoustics import SAMPLE_RATE
from ...judge.judged import JudgedClip, Listened, judged
from ...judge.listeners import Listeners, load_listeners
from ...judge.verdict import Evidence
from ...messages import Message, named, plural
from ...text.languages import language_of
from .recordings import find_recordings, transcript_of

_STOPPED = Message("Nothing was written.")


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
    listeners = load_listeners(settings, language_of(texts.values()), reporter, usable_gpu)
    reference = _reference(settings.reference, listeners) if settings.reference else None

    listened: list[Listened] = []
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
            listened.append(Listened(path, texts[path], heard, evidence, path.parent))
        meter.advance(detail=path.name)
    if not listened:
        raise DataError(
            plural(len(paths), "The recording cannot be read.", "None of {number} recordings can be read."),
            "What is wrong is said above.",
        )
    judgement = judged(listened, reference)
    for folder in judgement.mixed:
        reporter.warn(
            "The recordings in {folder} have no voice in common: voices are not compared.",
            "Give a recording of the right voice with --reference.",
            folder=folder,
        )
    return JudgeResult(
        clips=judgement.clips,
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
