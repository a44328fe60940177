"""Where a clip of a data set can be split: its pauses, and the words that something heard in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...audio.mixing import mix
from ...audio.pauses import pauses_in
from ...audio.recordings import read_audio, read_channels
from ...dataset.places import Sounding, Spoken, WordGaps, gaps_of, sounding_of
from ...dataset.prepared import PreparedWord, read_prepared
from ...dataset.proofreading import ProofClip
from ...errors import UsageError
from ...events import Reporter
from ...hardware.device import usable_gpu
from ...judge.extra import is_installed
from ...judge.heard import HeardBefore, words_heard
from ...judge.listeners import Listeners
from ...judge.models import load_recogniser, recognition_at_hand
from ...judge.recognition import SAMPLE_RATE, HeardWord
from ...text.languages import likely_language
from .realise import recording_of


def word_gaps(data: Path, clip: ProofClip, *, by_ear: bool) -> WordGaps:
    """Return the places between the words of a clip.

    Args:
        clip: as it is now, its files in line with it.
        by_ear: recognise now what nothing heard before, and keep it; takes seconds to minutes.

    Raises:
        DataError: a recording is gone or cannot be read.
        UsageError: `by_ear`, and there is nothing to listen with.
        CheckpointError, DeviceMemoryError: the model that is there cannot be used.
    """
    heard = words_of_record(data)
    sounding = sounding_now(data, clip, heard)
    if sounding.words:
        return WordGaps(tuple(gaps_of(clip.text, sounding)), can_listen=False)
    language = _language_of(data, clip)
    if by_ear:
        _listen(_recordings(data, clip).values(), language)
        sounding = sounding_now(data, clip, heard)
    can_listen = not by_ear and _is_at_hand(language)
    return WordGaps(tuple(gaps_of(clip.text, sounding)), can_listen)


def words_of_record(data: Path) -> dict[str, tuple[PreparedWord, ...]]:
    """Return the words that preparing a data set heard, by the name of the clip that was made."""
    record = read_prepared(data)
    return {clip.clip: clip.words for clip in record.made} if record is not None else {}


def sounding_now(data: Path, clip: ProofClip, heard: Mapping[str, tuple[PreparedWord, ...]]) -> Sounding:
    """Return what is known of how a clip sounds: its pauses, and words that anything heard in it before.

    Args:
        heard: see `words_of_record`.

    Raises:
        DataError: a recording is gone or cannot be read.
    """
    files = _recordings(data, clip)
    made = {name: _sounding_in(file, heard.get(name, ())) for name, file in files.items()}
    return sounding_of(clip.pieces, made)


def _recordings(data: Path, clip: ProofClip) -> dict[str, Path]:
    """Return the recordings that a clip is made of, by name."""
    return {piece.clip: recording_of(data, piece.clip) for piece in clip.pieces}


def _sounding_in(recording: Path, words: Sequence[PreparedWord]) -> Sounding:
    samples, rate = read_channels(recording)  # as they are: bringing them to another rate would load torch
    mono = mix(samples, rate).samples
    known: Iterable[PreparedWord | HeardWord] = words
    if not words and (before := words_heard(recording)) is not None:
        known = before.words
    spoken = tuple(Spoken(word.text, word.start, word.end) for word in known)
    return Sounding(len(mono) / rate, spoken, tuple(pauses_in(mono, rate)))


def _language_of(data: Path, clip: ProofClip) -> str | None:
    record = read_prepared(data)
    for recording in record.recordings if record is not None else ():
        if recording.language and any(made.clip == clip.pieces[0].clip for made in recording.clips):
            return recording.language
    return likely_language([clip.text])


def _is_at_hand(language: str | None) -> bool:
    return is_installed("faster_whisper", "num2words") and recognition_at_hand(language, None) is not None


def _listen(recordings: Iterable[Path], language: str | None) -> None:
    """Recognise recordings and keep what is heard."""
    gpu = usable_gpu("auto")
    name = recognition_at_hand(language, gpu)
    if name is None:
        raise UsageError(
            "There is no model for recognition on this machine.",
            "fishtune validate --listen fetches one and listens to all clips.",
        )
    names = {"recognition": name}
    listeners = Listeners(load_recogniser(name, gpu, Reporter()), names=names)
    before = HeardBefore(names)
    for recording in recordings:
        impression = listeners.hear(read_audio(recording, SAMPLE_RATE), language)
        before.keep(before.key(recording, language), impression)
