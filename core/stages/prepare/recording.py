"""One recording becomes clips: cut in its pauses and transcribed, or taken over where it is one already."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...audio.mixing import mix
from ...audio.recordings import read_channels, read_info, write_audio
from ...audio.resampling import resample
from ...config.settings import PrepareSettings
from ...dataset.clips import AUDIO_EXTENSIONS
from ...dataset.prepared import PreparedClip, PreparedRecording, PreparedWord, WordsFrom, certainty
from ...errors import UsageError
from ...events import Reporter
from ...file_names import TEXT_EXTENSION
from ...files import atomic_path, storage_errors, sweep_targets, temporary_path, write_text
from ...judge.recognition import SAMPLE_RATE, Heard
from ...judge.results import SAME_VOICE
from ...judge.speaker import Embedding, similarity
from ...judge.voice_activity import FRAME
from ...judge.voices import shared_voice
from ...messages import Message, first_of, plural
from ...text.cleaning import has_words, packed_text
from .captioned import lay_over
from .captions import read_captions
from .cuts import CutRules, Span, cut, speech_spans
from .ears import Ears
from .journal import Journal, key_of
from .samples import Length, clips_of, mono_pieces
from .sources import Source, text_of
from .texts import share_out

ALREADY_A_CLIP = 30.0
"""Seconds up to which a recording that has a transcript is a clip."""
_KEEP_VOICE = Message("Listen to it; with --keep-voice CLIP only what is near the voice of CLIP is kept.")
_STOPPED = Message("What was done and heard so far is kept; the same command continues.")


@dataclass(frozen=True)
class Task:
    """One recording that is to be prepared."""

    source: Source
    digest: str
    """`content_digest` of the recording."""
    name: str
    """`SPEAKER/NAME` of its clips."""


@dataclass(frozen=True)
class _Draft:
    """A clip that is not written yet."""

    span: Span
    text: str = ""
    origin: WordsFrom = WordsFrom.HEARD
    agreement: float | None = None
    """Of a known text with what was heard."""
    heard: Heard = field(default_factory=lambda: Heard((), ""))
    voice: Embedding | None = field(default=None, repr=False)


class Preparation:
    """Prepares recordings into one data set."""

    def __init__(self, settings: PrepareSettings, journal: Journal, ears: Ears, reporter: Reporter) -> None:
        self._settings, self._journal, self._ears, self._reporter = settings, journal, ears, reporter
        self._rules = CutRules(
            shortest=settings.shortest,
            longest=settings.longest,
            longest_pause=settings.longest_pause,
            kept_silence=settings.kept_silence,
        )

    def prepare(self, task: Task, path: Path, advance: Callable[[float], None]) -> PreparedRecording:
        """Write the clips of a recording and return what became of it.

        Args:
            path: the recording, in a format that is read.
            advance: is told how many seconds were listened to.

        Raises:
            DataError: the recording, or what has its words, cannot be used.
            FishtuneError: a model cannot be had.
            StopRequested: asked to stop; what was heard is in the journal.
        """
        source = task.source
        captions, text = source.captions, text_of(source)
        if text and (seconds := read_info(path).seconds) <= ALREADY_A_CLIP:
            return self._take_over(task, path, text, seconds)
        length = Length()
        likely = self._ears.detector.probabilities(mono_pieces(path, SAMPLE_RATE, length))
        found = speech_spans(likely, FRAME / SAMPLE_RATE, self._rules.least_pause)
        # The last frame may reach beyond the recording.
        speech = [Span(span.start, min(span.end, length.seconds)) for span in found]
        if captions is not None:
            laid = lay_over(read_captions(captions), speech)
            cutting = cut(laid.spans, length.seconds, self._rules, laid.unwanted)
            drafts = [
                _Draft(
                    clip,
                    " ".join(laid.texts[span] for span in laid.spans if _lies_in(span, clip)),
                    WordsFrom.CAPTIONS,
                )
                for clip in cutting.clips
            ]
            language = model = ""
        else:
            cutting = cut(speech, length.seconds, self._rules)
            drafts, language = self._transcribed(task, path, cutting.clips, text, advance)
            model = self._ears.model
        drafts = self._with_voices(path, drafts)
        others = self._say_voices(task, drafts)
        kept = [draft for draft in drafts if has_words(packed_text(draft.text)) and self._is_wanted(draft)]
        clips = _numbered(task.name, kept)
        self._write(path, kept, clips)
        return PreparedRecording(
            source=source.relative,
            digest=task.digest,
            seconds=round(length.seconds, 3),
            language=language,
            model=model,
            clips=clips,
            other_voices=others,
            left_out=len(drafts) - len(kept),
            without_pause=len(cutting.without_pause),
        )

    # -- words

    def _transcribed(
        self, task: Task, path: Path, clips: Sequence[Span], text: str, advance: Callable[[float], None]
    ) -> tuple[list[_Draft], str]:
        """Return the clips with their words, and the language of the recording."""
        asked = self._settings.language or task.source.language or None
        heard = self._listened(task, path, clips, asked, advance)
        languages = Counter(each.language for each in heard.values() if each.words)
        language = asked or next(iter(languages.most_common(1)), ("", 0))[0]
        # A recording is in one language: what was taken for another one is heard again.
        strange = [clip for clip, each in heard.items() if language and each.language != language]
        heard |= self._listened(task, path, strange, language, advance)
        drafts = [_Draft(clip, each.text, heard=each) for clip, each in heard.items()]
        if not text:
            return drafts, language
        shares = share_out(text, [draft.heard for draft in drafts], language)
        unsure = sum(not share.is_sure for share in shares)
        if unsure:
            self._reporter.warn(
                plural(
                    len(shares),
                    "What is said in {file} is not its text: recognition's words are used.",
                    "In {unsure} of {number} clips of {file}, what is said is not its text: recognition's "
                    "words are used for them.",
                    unsure=unsure,
                    file=task.source.relative,
                ),
                "Check that the text is that of this recording.",
            )
        return [
            replace(draft, text=share.text, origin=WordsFrom.TEXT, agreement=share.agreement)
            if share.is_sure
            else draft
            for draft, share in zip(drafts, shares, strict=True)
        ], language

    def _listened(
        self,
        task: Task,
        path: Path,
        clips: Sequence[Span],
        language: str | None,
        advance: Callable[[float], None],
    ) -> dict[Span, Heard]:
        """Return what is heard in each clip, remembering each at once."""
        prompt = self._settings.prompt
        keys = {
            clip: key_of(task.digest, clip.start, clip.end, self._ears.model, language, prompt)
            for clip in clips
        }
        found = {clip: self._journal.heard(key) for clip, key in keys.items()}
        missing = [clip for clip, heard in found.items() if heard is None]
        advance(sum(clip.seconds for clip in clips) - sum(clip.seconds for clip in missing))
        for clip, samples, rate in clips_of(path, missing):
            self._reporter.check_stop(_STOPPED)
            heard = self._ears.recogniser.listen(resample(samples, rate, SAMPLE_RATE), language, prompt)
            self._journal.remember(keys[clip], heard)
            found[clip] = heard
            advance(clip.seconds)
        return {clip: heard for clip, heard in found.items() if heard is not None}

    # -- voices

    def _with_voices(self, path: Path, drafts: Sequence[_Draft]) -> list[_Draft]:
        encoder = self._ears.encoder if drafts else None
        if encoder is None:
            return list(drafts)
        embedded = []
        for draft, (_, samples, rate) in zip(
            drafts, clips_of(path, [each.span for each in drafts]), strict=True
        ):
            self._reporter.check_stop(_STOPPED)
            embedded.append(replace(draft, voice=encoder.embed(resample(samples, rate, SAMPLE_RATE))))
        return embedded

    def _is_wanted(self, draft: _Draft) -> bool:
        wanted = self._ears.wanted
        if wanted is None:
            return True
        return draft.voice is not None and similarity(draft.voice, wanted) >= SAME_VOICE

    def _say_voices(self, task: Task, drafts: Sequence[_Draft]) -> int:
        """Say whether a recording has several voices; return how many clips are not of the voice of most."""
        if self._settings.keep_voice is not None:
            return 0
        voices = shared_voice([draft.voice for draft in drafts])
        known = sum(draft.voice is not None for draft in drafts)
        if known > 2 and not any(voice is not None for voice in voices):
            self._reporter.warn(
                "{file} has several voices, none of which is that of most clips.",
                _KEEP_VOICE,
                file=task.source.relative,
            )
            return known
        others = [
            draft
            for draft, voice in zip(drafts, voices, strict=True)
            if draft.voice is not None and voice is not None and similarity(draft.voice, voice) < SAME_VOICE
        ]
        if others:
            self._reporter.warn(
                plural(
                    len(others),
                    "One clip of {file} sounds like another voice than the rest, at {times}.",
                    "{number} clips of {file} sound like another voice than the rest, at {times}.",
                    file=task.source.relative,
                    times=first_of([_clock(draft.span.start) for draft in others], 5),
                ),
                _KEEP_VOICE,
            )
        return len(others)

    # -- files

    def _take_over(self, task: Task, path: Path, text: str, seconds: float) -> PreparedRecording:
        """Copy or link a recording that is a clip already."""
        ending = path.suffix.lower()
        is_read = ending in AUDIO_EXTENSIONS and path == task.source.path
        audio = f"{task.name}{ending if is_read else '.wav'}"
        target = self._own(audio, f"{task.name}{TEXT_EXTENSION}")[0]
        if is_read:
            _copy(path, target, link=self._settings.link)
        else:
            samples, rate = read_channels(path)
            write_audio(target, mix(samples, rate).samples, rate)
        write_text(target.with_name(f"{target.stem}{TEXT_EXTENSION}"), f"{text}\n")
        clip = PreparedClip(
            clip=task.name, start=0.0, end=round(seconds, 3), text=text, origin=WordsFrom.GIVEN
        )
        return PreparedRecording(
            source=task.source.relative, digest=task.digest, seconds=round(seconds, 3), clips=(clip,)
        )

    def _write(self, path: Path, drafts: Sequence[_Draft], clips: Sequence[PreparedClip]) -> None:
        files = [f"{clip.clip}{ending}" for clip in clips for ending in (".wav", TEXT_EXTENSION)]
        self._own(*files)
        for clip, (_, samples, rate) in zip(
            clips, clips_of(path, [draft.span for draft in drafts]), strict=True
        ):
            stem = self._settings.out / clip.clip
            write_audio(stem.with_name(f"{stem.name}.wav"), samples, rate)
            write_text(stem.with_name(f"{stem.name}{TEXT_EXTENSION}"), f"{clip.text}\n")

    def _own(self, *files: str) -> list[Path]:
        """Return the paths of files that are about to be written, which the journal then knows as ours.

        Raises:
            UsageError: one is there and not ours.
        """
        targets = [self._settings.out / file for file in files]
        for file, target in zip(files, targets, strict=True):
            if file not in self._journal.files and target.exists():
                raise UsageError(
                    "{file} was not written by fishtune prepare and would be replaced.",
                    "Name another folder for the data set, or move that file away.",
                    file=target,
                )
        self._journal.announce(files)
        sweep_targets(targets)
        return targets


def _lies_in(span: Span, clip: Span) -> bool:
    return clip.start <= span.start and span.end <= clip.end


def _numbered(name: str, drafts: Sequence[_Draft]) -> tuple[PreparedClip, ...]:
    """Return the clips as the record has them, with names in their order."""
    clips = []
    for number, draft in enumerate(drafts, 1):
        words = tuple(
            PreparedWord(
                text=word.text.strip(),
                start=round(word.start, 2),
                end=round(word.end, 2),
                probability=round(word.probability, 3),
            )
            for word in draft.heard.words
        )
        score = certainty(words)
        if draft.agreement is not None and score is not None:
            score = round(min(score, draft.agreement), 3)
        clips.append(
            PreparedClip(
                clip=f"{name}-{number:04}",
                start=round(draft.span.start, 3),
                end=round(draft.span.end, 3),
                text=" ".join(draft.text.split()),
                origin=draft.origin,
                score=score,
                words=words,
            )
        )
    return tuple(clips)


def _copy(source: Path, target: Path, *, link: bool) -> None:
    with storage_errors(target):
        if link:
            temporary = temporary_path(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.hardlink_to(source)
                temporary.replace(target)
            except OSError:  # another file system, or one without links
                temporary.unlink(missing_ok=True)
            else:
                return
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
