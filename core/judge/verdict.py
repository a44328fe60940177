"""What is wrong with a recording, from what was measured of it and what is known of its voice.

The thresholds were set on 27 clean recordings of six readers (LJ Speech, and LibriSpeech's difficult part
with its accents and old words) and 23 kinds of damage done to them, heard by the smallest Whisper: they lie
between what clean recordings reach and what the damage leaves, nearer to the damage. What belongs to a
voice (its pace, its pitch) is held against that voice's own recordings where there are any, and else against
what people and languages can do.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..messages import Message
from .acoustics import Acoustics
from .alignment import Alignment
from .differences import Difference, Where, differences, letters_expected, letters_heard
from .pitch import Pitch, semitones
from .record import SpeechFault, SpeechFaultKind
from .rules import LONGEST, SHORTEST, expected_seconds
from .speaker import Embedding, similarity
from .words import LETTER_LANGUAGES

SAME_VOICE = 0.5
"""Cosine of two embeddings from which they count as one voice. Of one speaker: .62 to .97; of two: at most
.37."""
_FEWEST = 3
"""Clips that tell a voice's own pace and pitch."""
# Speech that is missing or added: letters, and their share of the text. Clean: at most 7, and 4 %.
_MISSING, _MISSING_SHARE = 5, 0.08
_ADDED, _ADDED_SHARE = 6, 0.08
_AGAIN = 3
"""Letters said twice; recognition does not make up repetitions."""
_WORDS, _WORDS_SHARE = 8, 0.32
"""Letters that are other ones: how many, and as a share. Clean: .28 where an accent is hard to understand."""
_RUNS = ((6, 0.25), (9, 0.14))
"""Letters and share that a single run of other words may have, the less the longer it is: babble lies
together, misheard words are scattered. Clean: 4 letters of 15, and 9 % of those with more letters."""
_UNSURE = 1.3
"""Factor on what is allowed where fewer clips than `_FEWEST` tell a voice's own."""
_SHORTER, _LONGER = 1.35, 0.6
"""Letters of the text per second of speech, relative to the voice's pace. Clean: 0.68 to 1.25."""
_FASTER, _SLOWER = 1.4, 0.6
"""Letters heard per second, likewise."""
_PACES = {True: (1.5, 13.0), False: (4.5, 23.0)}
"""Letters per second that people speak at: of languages written in syllables or ideographs, and of others."""
_OWN_SEMITONES = 6.5
"""By which the median pitch may differ from the voice's own; sentences of one reader differ by up to 5."""
_MONOTONOUS = 1.6
"""Semitones between the 10th and 90th percentile of pitch. The flattest reader has 2.5."""
_TELLING = 1.2
"""Seconds of speech from which its pitch and its pauses say something."""
_TELLING_PACE = 0.8
"""Seconds of speech from which its pace does."""
_PAUSE, _SILENCE_AROUND = 1.6, 1.5
"""Seconds. Clean: 1.35 within, 0.6 before and after."""
_SILENT = 0.6
"""Share of a recording."""
_FADE = -13.0
"""Decibels from beginning to end. Clean: −11.7; a fade to nothing: about −17."""
_STUCK = 0.6
"""Seconds. Clean: 0.16."""
_REPEATED = 0.36
"""Seconds. Clean: 0.24."""
_CLIPPED = 0.002
"""Share of samples."""
_NOISE_RANGE = 17.0
"""Decibels between speech and pauses. Clean: 21 and more; noise at 5 dB: at most 13."""
_BACKGROUND = 2.3
"""Opinion of the background that DNSMOS expects."""


@dataclass(frozen=True)
class Evidence:
    """What was measured of one recording; None where nothing could measure it."""

    acoustics: Acoustics
    language: str = "en"
    text: str = ""
    """What should be said; "" where it is not known."""
    alignment: Alignment | None = None
    starts: tuple[float, ...] = ()
    """When each token heard begins, seconds."""
    embedding: Embedding | None = field(default=None, repr=False)
    pitch: Pitch | None = None
    background: float | None = None

    @property
    def rate(self) -> float | None:
        """Letters and digits heard per second of speech, pauses left out."""
        if self.alignment is None or not self.acoustics.active:
            return None
        return letters_heard(self.alignment.steps) / self.acoustics.active

    @property
    def text_rate(self) -> float | None:
        """Letters and digits of the text per second of speech: what `rate` would be if all of it were
        said."""
        if self.alignment is None or not self.acoustics.active:
            return None
        return letters_expected(self.alignment.steps) / self.acoustics.active

    @property
    def misheard(self) -> float | None:
        """Share of the text's letters that are other ones, or missing."""
        if self.alignment is None:
            return None
        different = sum(each.wrong for each in differences(self.alignment))
        return different / max(letters_expected(self.alignment.steps), 1)


@dataclass(frozen=True)
class Voice:
    """What is known of a voice itself; None where nothing is."""

    embedding: Embedding | None = field(default=None, repr=False)
    pace: float | None = None
    """Letters per second of speech."""
    pitch: float | None = None
    """Median, Hz."""
    text: str = ""
    """What is said in the reference, letters only: what must not leak."""
    allowance: float = 1.0
    """Factor on what may differ: more than 1 where few recordings tell."""


def voice_of(clips: Sequence[Evidence], embedding: Embedding | None, text: str = "") -> Voice:
    """Return what recordings tell of the voice they share, by medians, so that a few bad ones do not matter.

    Args:
        embedding: the voice; clips of another one do not count.
    """
    own = [clip for clip in clips if not _is_other(clip, embedding)]
    paces = [clip.rate for clip in own if clip.rate]
    pitches = [clip.pitch.median for clip in own if clip.pitch is not None]
    return Voice(
        embedding=embedding,
        pace=statistics.median(paces) if paces else None,
        pitch=statistics.median(pitches) if pitches else None,
        text=text,
        allowance=1.0 if len(own) >= _FEWEST else _UNSURE,
    )


def judge(clip: Evidence, voice: Voice) -> list[SpeechFault]:
    """Return what is wrong with a recording; nothing if it sounds right."""
    found: dict[SpeechFaultKind, Message] = {}
    for kind, message in (*_of_sound(clip), *_of_words(clip, voice), *_of_voice(clip, voice)):
        found.setdefault(kind, message)
    return [SpeechFault(kind=kind, message=message) for kind, message in found.items()]


Fault = tuple[SpeechFaultKind, Message]


def _is_other(clip: Evidence, embedding: Embedding | None) -> bool:
    return (
        embedding is not None
        and clip.embedding is not None
        and similarity(clip.embedding, embedding) < SAME_VOICE
    )


def _of_sound(clip: Evidence) -> Iterator[Fault]:
    heard = clip.acoustics
    silent = 1 - heard.active / max(heard.seconds, 1e-9)
    if silent > _SILENT:
        yield SpeechFaultKind.SILENT, Message("{share:.0%} of it is silence.", share=silent)
    if heard.longest_pause > _PAUSE:
        yield (
            SpeechFaultKind.PAUSE,
            Message(
                "A silence of {longest_pause:.1f} s begins at {pause_at:.1f} s.",
                longest_pause=heard.longest_pause,
                pause_at=heard.pause_at,
            ),
        )
    elif heard.leading > _SILENCE_AROUND:
        yield (
            SpeechFaultKind.PAUSE,
            Message("It begins with {seconds:.1f} s of silence.", seconds=heard.leading),
        )
    elif heard.trailing > _SILENCE_AROUND:
        yield (
            SpeechFaultKind.PAUSE,
            Message("It ends with {seconds:.1f} s of silence.", seconds=heard.trailing),
        )
    if heard.slope < _FADE:
        yield (
            SpeechFaultKind.FADING,
            Message("The voice fades by {number:.0f} dB from beginning to end.", number=-heard.slope),
        )
    if heard.steadiest > _STUCK:
        yield (
            SpeechFaultKind.STUCK,
            Message("One sound is held unchanged for {seconds:.1f} s.", seconds=heard.steadiest),
        )
    elif heard.repeated > _REPEATED:
        yield (
            SpeechFaultKind.REPEATED,
            Message(
                "From {repeated_at:.1f} s on, {repeated:.1f} s of sound are repeated exactly.",
                repeated_at=heard.repeated_at,
                repeated=heard.repeated,
            ),
        )
    if heard.clipped > _CLIPPED:
        yield (
            SpeechFaultKind.CLIPPED,
            Message("{share:.1%} of the samples are cut off at full scale.", share=heard.clipped),
        )
    if heard.range < _NOISE_RANGE and heard.active > _TELLING:
        yield (
            SpeechFaultKind.NOISY,
            Message("The pauses are only {number:.0f} dB quieter than the speech.", number=heard.range),
        )
    elif clip.background is not None and clip.background < _BACKGROUND:
        yield (
            SpeechFaultKind.NOISY,
            Message(
                "The background would be rated {background:.1f} of 5 (DNSMOS).", background=clip.background
            ),
        )


def _of_words(clip: Evidence, voice: Voice) -> Iterator[Fault]:
    if clip.alignment is None:
        yield from _of_length(clip)
        return
    letters = letters_expected(clip.alignment.steps)
    for difference in differences(clip.alignment):
        yield from _of_difference(difference, letters, voice)
    misheard = clip.misheard or 0.0
    longest = max((each.wrong for each in differences(clip.alignment)), default=0)
    if (misheard * letters >= _WORDS and misheard > _WORDS_SHARE) or any(
        longest >= least and longest > share * letters for least, share in _RUNS
    ):
        yield (
            SpeechFaultKind.OTHER_WORDS,
            Message("{share:.0%} of the letters differ from the text's.", share=misheard),
        )
    yield from _of_pace(clip, voice)


def _of_length(clip: Evidence) -> Iterator[Fault]:
    """Hold the length against the text where nothing hears the words."""
    if not clip.text:
        return
    seconds, expected = clip.acoustics.seconds, expected_seconds(clip.text)
    if seconds < SHORTEST * expected:
        yield (
            SpeechFaultKind.SHORT,
            Message(
                "Only {seconds:.1f} s for a text of about {expected:.1f} s.",
                seconds=seconds,
                expected=expected,
            ),
        )
    elif seconds > LONGEST * expected:
        yield (
            SpeechFaultKind.LONG,
            Message(
                "{seconds:.1f} s for a text of about {expected:.1f} s.", seconds=seconds, expected=expected
            ),
        )


def _of_difference(difference: Difference, letters: int, voice: Voice) -> Iterator[Fault]:
    missing = difference.missing
    wholly = not difference.heard
    if missing >= _MISSING and (
        missing >= _MISSING_SHARE * letters or (wholly and difference.where is Where.END)
    ):
        if difference.where is Where.END:
            yield (
                SpeechFaultKind.MISSING_END,
                Message("The end is missing: “{words}”.", words=difference.expected_text),
            )
        else:
            yield (
                SpeechFaultKind.MISSING_WORDS,
                Message("Words are missing: “{words}”.", words=difference.expected_text),
            )
    if difference.repeats and difference.added >= _AGAIN:
        yield SpeechFaultKind.REPEATED, Message("Said again: “{words}”.", words=difference.heard_text)
    elif difference.added >= max(_ADDED, _ADDED_SHARE * letters):
        if voice.text and difference.joined in voice.text:
            yield (
                SpeechFaultKind.LEAKED_REFERENCE,
                Message("Words of the reference are said: “{words}”.", words=difference.heard_text),
            )
        else:
            yield (
                SpeechFaultKind.ADDED_WORDS,
                Message("Not in the text, but said: “{words}”.", words=difference.heard_text),
            )


def _of_pace(clip: Evidence, voice: Voice) -> Iterator[Fault]:
    rate, text_rate = clip.rate, clip.text_rate
    if rate is None or text_rate is None or clip.acoustics.active < _TELLING_PACE:
        return
    slowest, fastest = _PACES[clip.language in LETTER_LANGUAGES]
    if voice.pace is not None:
        slowest = max(slowest, _SLOWER / voice.allowance * voice.pace)
        fastest = min(fastest, _FASTER * voice.allowance * voice.pace)
        ratio = text_rate / voice.pace
        if ratio > _SHORTER * voice.allowance:
            yield (
                SpeechFaultKind.SHORT,
                Message("The text would take this voice {ratio:.1f} times as long.", ratio=ratio),
            )
        elif ratio < _LONGER / voice.allowance:
            yield (
                SpeechFaultKind.LONG,
                Message("The text would take this voice only {ratio:.0%} of this time.", ratio=ratio),
            )
    elif text_rate > fastest:
        yield (
            SpeechFaultKind.SHORT,
            Message(
                "Nobody says {text_rate:.0f} letters per second: part of the text is missing.",
                text_rate=text_rate,
            ),
        )
    elif text_rate < slowest:
        yield (
            SpeechFaultKind.LONG,
            Message("Only {text_rate:.1f} letters of the text per second are said.", text_rate=text_rate),
        )
    if rate > fastest:
        yield (
            SpeechFaultKind.FAST,
            Message(
                "{rate:.1f} letters per second are said, {fastest:.1f} at most are expected.",
                rate=rate,
                fastest=fastest,
            ),
        )
    elif rate < slowest:
        yield (
            SpeechFaultKind.SLOW,
            Message(
                "{rate:.1f} letters per second are said, {slowest:.1f} at least are expected.",
                rate=rate,
                slowest=slowest,
            ),
        )


def _of_voice(clip: Evidence, voice: Voice) -> Iterator[Fault]:
    if voice.embedding is not None and clip.embedding is not None:
        alike = similarity(clip.embedding, voice.embedding)
        if alike < SAME_VOICE:
            yield (
                SpeechFaultKind.OTHER_VOICE,
                Message("It sounds like another voice: similarity {alike:.2f}.", alike=alike),
            )
    if clip.pitch is None:
        return
    if voice.pitch is not None:
        off = semitones(voice.pitch, clip.pitch.median)
        if off > _OWN_SEMITONES * voice.allowance:
            yield (
                SpeechFaultKind.OTHER_PITCH,
                Message(
                    "It is {off:.0f} semitones higher than the voice: {median:.0f} Hz.",
                    off=off,
                    median=clip.pitch.median,
                ),
            )
        elif off < -_OWN_SEMITONES * voice.allowance:
            yield (
                SpeechFaultKind.OTHER_PITCH,
                Message(
                    "It is {off:.0f} semitones lower than the voice: {median:.0f} Hz.",
                    off=-off,
                    median=clip.pitch.median,
                ),
            )
    if clip.pitch.spread < _MONOTONOUS and clip.acoustics.active > _TELLING:
        yield (
            SpeechFaultKind.MONOTONOUS,
            Message("The pitch moves by {spread:.1f} semitones only.", spread=clip.pitch.spread),
        )
