"""Listening to a data set: what its clips say, in which voice and room, held against what they should."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from ...audio.recordings import read_audio
from ...config.settings import ValidateSettings
from ...dataset.clips import Clip
from ...dataset.findings import Finding, FindingKind, warning
from ...errors import DataError
from ...events import ProgressMeter, Reporter
from ...hardware.device import usable_gpu
from ...judge.acoustics import SAMPLE_RATE
from ...judge.alignment import align
from ...judge.faults import SpeechFaultKind
from ...judge.heard import HeardBefore
from ...judge.judged import JudgedClip, Listened, judged
from ...judge.listeners import Impression, Listeners, load_listeners
from ...judge.pitch import semitones
from ...judge.rooms import REVERBERANT, reverberation
from ...judge.words import tokens_of
from ...messages import Message
from ...text.languages import language_of
from ...text.transcripts import read_transcript

_STOPPED = Message("What was heard is kept; the same command continues.")
_SURE_LANGUAGE = 0.8
"""Probability from which a clip is in another language, not one that was hard to recognise."""
_CUT = -15.0
"""Decibels below the loudest speech at which a clip begins or ends inside a word. LJ Speech: at most −22."""
_SWAPPED = 0.3
"""Error rate up to which a clip says what another one should."""
_MOST_COMPARED = 100
"""Clips that are held against one another for that."""
_FOR_VARIETY = 20
"""Clips of a speaker that tell how alike they are."""
_ALIKE_LENGTH = 1.15
"""Ratio of the 90th to the 10th percentile of lengths."""
_ALIKE_PITCH = 1.0
"""Semitones between the 10th and the 90th percentile of the clips' medians. LJ Speech: 2.5."""
_FLAT_LEVEL = 4.5
"""Decibels: median of the clips' `Acoustics.dynamics`, which bringing them to one loudness leaves as it is.
LJ Speech: 8.7, LibriSpeech 12.2; LJ Speech compressed 4 : 1 at most 4.4, driven 30 dB into a limiter 3.8."""
_WORDS = (
    "Correct the transcript, or leave the clip out: the voice learns to say other words than it is given."
)
_SAID: dict[SpeechFaultKind, tuple[FindingKind, str]] = {
    SpeechFaultKind.OTHER_WORDS: (FindingKind.OTHER_WORDS, _WORDS),
    SpeechFaultKind.MISSING_END: (FindingKind.MISSING_WORDS, _WORDS),
    SpeechFaultKind.MISSING_WORDS: (FindingKind.MISSING_WORDS, _WORDS),
    SpeechFaultKind.ADDED_WORDS: (FindingKind.ADDED_WORDS, _WORDS),
    SpeechFaultKind.REPEATED: (FindingKind.ADDED_WORDS, _WORDS),
}
"""What is wrong with the words, most telling first: a clip has one such finding."""
_LISTEN = "Listen to it, and leave it out if that is so."
_SOUNDS: dict[SpeechFaultKind, tuple[FindingKind, str]] = {
    SpeechFaultKind.OTHER_VOICE: (
        FindingKind.OTHER_VOICE,
        "Listen to it; move it to its own speaker's folder, or leave it out.",
    ),
    SpeechFaultKind.NOISY: (
        FindingKind.NOISY,
        "Use a cleaner source, or leave it out: the noise is learnt with the voice.",
    ),
    SpeechFaultKind.PAUSE: (FindingKind.LONG_PAUSE, "Cut the silence away, unless that pause is the manner."),
    SpeechFaultKind.SILENT: (FindingKind.LONG_PAUSE, "Cut the silence away, or leave it out."),
    SpeechFaultKind.FADING: (FindingKind.DAMAGED_SOUND, _LISTEN),
    SpeechFaultKind.STUCK: (FindingKind.DAMAGED_SOUND, _LISTEN),
}
_MANNER: dict[SpeechFaultKind, tuple[FindingKind, str]] = {
    SpeechFaultKind.FAST: (FindingKind.UNUSUAL_PACE, _LISTEN),
    SpeechFaultKind.SLOW: (FindingKind.UNUSUAL_PACE, _LISTEN),
    SpeechFaultKind.SHORT: (FindingKind.UNUSUAL_PACE, _WORDS),
    SpeechFaultKind.LONG: (FindingKind.UNUSUAL_PACE, _WORDS),
    SpeechFaultKind.OTHER_PITCH: (FindingKind.UNUSUAL_PITCH, _LISTEN),
}
"""What follows from other words or another voice, and is only said where neither was found."""


class ListenedClip(BaseModel):
    """What listening to one clip gave; None where nothing could measure it."""

    clip: str
    """`SPEAKER/NAME`."""
    heard: str
    """The words that recognition heard."""
    wer: float | None
    """Errors per word of the transcript; per letter in languages that are compared so."""
    similarity: float | None
    """To the voice of the speaker's other clips; a cosine."""
    rate: float | None
    """Letters and digits heard per second of speech."""
    background: float | None
    """Opinion of the background that DNSMOS expects, 1 … 5."""


@dataclass(frozen=True)
class Listening:
    """Result of `listen`."""

    findings: list[Finding]
    clips: list[ListenedClip]
    """Most errors first."""
    not_judged: list[str] = field(default_factory=list)
    """What was left out and why, each a sentence."""


@dataclass(frozen=True)
class _Heard:
    clip: Clip
    text: str
    impression: Impression

    @property
    def language(self) -> str:
        return self.impression.heard.language if self.impression.heard else ""

    @property
    def is_sure(self) -> bool:
        heard = self.impression.heard
        return heard is not None and heard.language_probability >= _SURE_LANGUAGE and bool(heard.words)


def listen(settings: ValidateSettings, clips: Sequence[Clip], reporter: Reporter) -> Listening:
    """Listen to clips that have a recording and a sound transcript.

    Raises:
        CheckpointError, DownloadError, DeviceError, UsageError: a model that was asked for cannot be used.
        StopRequested: asked to stop; what was heard is kept.
    """
    texts = {clip: read_transcript(clip.text).packed for clip in clips if clip.text is not None}
    known = settings.language or language_of(texts.values())
    listeners = load_listeners(settings, known, reporter, usable_gpu)
    before = HeardBefore(listeners.names)
    meter = ProgressMeter(reporter, "listening", len(texts), "clips")
    heard: list[_Heard] = []
    for clip, text in texts.items():
        reporter.check_stop(_STOPPED)
        impression = _hear(clip, None, listeners, before)
        if impression is not None:
            heard.append(_Heard(clip, text, impression))
        meter.advance(detail=clip.key)
    language = known or next(iter(Counter(each.language for each in heard).most_common(1)), ("", 0))[0]
    foreign = [each for each in heard if each.language not in ("", language) and each.is_sure]
    native = [_in_language(each, language, listeners, before) for each in heard if each not in foreign]
    judgement = judged([_listened(each, settings.data, language) for each in native])
    findings = [_foreign(each, language) for each in foreign]
    findings += [_mixed(folder) for folder in judgement.mixed]
    for each, judged_clip in zip(native, judgement.clips, strict=True):
        findings += _of_clip(each, judged_clip)
    findings = _with_swaps(findings, native, language)
    findings += [*_rooms(settings.data, heard), *_variety(settings.data, native)]
    return Listening(findings, _listed(native, judgement.clips), list(listeners.not_judged))


def _hear(clip: Clip, language: str | None, listeners: Listeners, before: HeardBefore) -> Impression | None:
    try:
        key = before.key(clip.audio[0], language)
        impression = before.find(key)
        if impression is None:
            impression = listeners.hear(read_audio(clip.audio[0], SAMPLE_RATE), language)
            before.keep(key, impression)
    except (DataError, OSError):
        return None  # a finding says so
    return impression


def _in_language(each: _Heard, language: str, listeners: Listeners, before: HeardBefore) -> _Heard:
    """Return what is heard of a clip in the data set's language, where it was taken for another one."""
    if each.language in ("", language):
        return each
    again = _hear(each.clip, language, listeners, before)
    return _Heard(each.clip, each.text, again or each.impression)


def _listened(each: _Heard, data: Path, language: str) -> Listened:
    evidence, words = each.impression.evidence(each.text, language or "en")
    # One speaker is one voice, also where clips lie in folders inside the speaker's.
    return Listened(each.clip.audio[0], each.text, words, evidence, data / each.clip.speaker)


def _mixed(folder: Path) -> Finding:
    return warning(
        FindingKind.SEVERAL_VOICES,
        folder,
        "The clips in {folder} have no voice in common: voices are not compared.",
        "Make a folder for each speaker: what is in one folder is learnt as one voice.",
        folder=folder,
    )


def _of_clip(each: _Heard, judged_clip: JudgedClip) -> Iterator[Finding]:
    clip, path = each.clip, each.clip.audio[0]
    faults = {fault.kind: fault.message for fault in judged_clip.findings}
    said = next((kind for kind in _SAID if kind in faults), None)
    if said is not None:
        code, advice = _SAID[said]
        yield warning(code, path, "{clip}: {fault}", advice, clip=clip.key, fault=faults[said])
    kinds = dict(_SOUNDS)
    if said is None and SpeechFaultKind.OTHER_VOICE not in faults:
        kinds |= _MANNER
    given: set[FindingKind] = set()
    for kind, (code, advice) in kinds.items():
        if kind in faults and code not in given:
            given.add(code)
            yield warning(code, path, "{clip}: {fault}", advice, clip=clip.key, fault=faults[kind])
    acoustics = each.impression.acoustics
    for level, where in (
        (acoustics.first, Message("begins")),
        (acoustics.last, Message("ends")),
    ):
        if level > _CUT:
            yield warning(
                FindingKind.CUT_OFF,
                path,
                "{clip} {begins_or_ends} inside a word: there is no silence.",
                "Cut it in the pause before or behind, or leave it out: the voice learns to break off.",
                clip=clip.key,
                begins_or_ends=where,
            )


def _foreign(each: _Heard, language: str) -> Finding:
    return warning(
        FindingKind.OTHER_LANGUAGE,
        each.clip.audio[0],
        "{clip} is in another language: {heard}, not {language}.",
        "Leave it out, unless the voice should speak both.",
        clip=each.clip.key,
        heard=each.language,
        language=language,
    )


def _with_swaps(findings: list[Finding], heard: Sequence[_Heard], language: str) -> list[Finding]:
    """Return the findings, those of clips that say another one's words naming that one."""
    by_path = {each.clip.audio[0]: each for each in heard}
    wrong = [by_path[one.path] for one in findings if one.code is FindingKind.OTHER_WORDS][:_MOST_COMPARED]
    tokens = {each.clip: tokens_of(each.text, each.language or language) for each in wrong}
    others: dict[Path, str] = {}
    for each in wrong:
        words, _ = each.impression.heard.tokens() if each.impression.heard else ([], [])
        rates = {
            other.clip.key: align(tokens[other.clip], words).error_rate
            for other in wrong
            if other is not each
        }
        nearest = min(rates, key=lambda key: rates[key], default=None)
        if nearest is not None and rates[nearest] <= _SWAPPED:
            others[each.clip.audio[0]] = nearest
    return [
        warning(
            one.code,
            one.path,
            "{clip} says what the transcript of {other} has.",
            "Swap the two transcripts.",
            clip=by_path[one.path].clip.key,
            other=others[one.path],
        )
        if one.code is FindingKind.OTHER_WORDS and one.path in others
        else one
        for one in findings
    ]


def _rooms(data: Path, heard: Sequence[_Heard]) -> Iterator[Finding]:
    decays: dict[str, list[float]] = defaultdict(list)
    for each in heard:
        decays[each.clip.speaker] += each.impression.decays
    for speaker, found in decays.items():
        seconds = reverberation(found)
        if seconds is not None and seconds > REVERBERANT:
            yield warning(
                FindingKind.REVERBERANT,
                data / speaker,
                "The room of {speaker} is heard: sound dies away in about {seconds:.1f} s.",
                "Record among soft furniture, nearer to the microphone: the echo is learnt with the voice.",
                speaker=speaker,
                seconds=seconds,
            )


def _variety(data: Path, heard: Sequence[_Heard]) -> Iterator[Finding]:
    speakers: dict[str, list[Impression]] = defaultdict(list)
    for each in heard:
        speakers[each.clip.speaker].append(each.impression)
    for speaker, impressions in speakers.items():
        sounds = [impression.acoustics for impression in impressions]
        lengths = [sound.seconds for sound in sounds]
        pitches = [impression.pitch.median for impression in impressions if impression.pitch is not None]
        levels = [sound.dynamics for sound in sounds if sound.dynamics is not None]
        if len(lengths) >= _FOR_VARIETY:
            low, high = np.percentile(lengths, (10, 90))
            if high / max(low, 1e-9) < _ALIKE_LENGTH:
                yield warning(
                    FindingKind.LITTLE_VARIETY,
                    data / speaker,
                    "Nearly all clips of {speaker} are {seconds:.1f} s long.",
                    "Mix short and long clips, cut in pauses: what is always of one length is learnt.",
                    speaker=speaker,
                    seconds=float(np.median(lengths)),
                )
        if len(pitches) >= _FOR_VARIETY:
            low, high = np.percentile(pitches, (10, 90))
            if semitones(float(low), float(high)) < _ALIKE_PITCH:
                yield warning(
                    FindingKind.LITTLE_VARIETY,
                    data / speaker,
                    "All clips of {speaker} have nearly the same pitch.",
                    "Add questions, exclamations and lively sentences: a flat reading gives a flat voice.",
                    speaker=speaker,
                )
        if len(levels) >= _FOR_VARIETY and (usual := float(np.median(levels))) < _FLAT_LEVEL:
            yield warning(
                FindingKind.LITTLE_VARIETY,
                data / speaker,
                "The speech of {speaker} hardly changes in level: by {change:.1f} dB within a clip.",
                "Use recordings without compressor, limiter or automatic gain: a flat level is learnt, too.",
                speaker=speaker,
                change=usual,
            )


def _listed(heard: Sequence[_Heard], clips: Sequence[JudgedClip]) -> list[ListenedClip]:
    listed = [
        ListenedClip(
            clip=each.clip.key,
            heard=clip.heard,
            wer=clip.wer,
            similarity=clip.similarity,
            rate=clip.rate,
            background=clip.background,
        )
        for each, clip in zip(heard, clips, strict=True)
    ]
    return sorted(listed, key=lambda clip: (-(clip.wer or 0.0), clip.clip))
