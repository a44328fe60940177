"""Reads one clip for packing: its transcript and codes, serialised, or the reason why it is left out."""

from __future__ import annotations

import os
from typing import NamedTuple

from ...dataset.clips import CODES_EXTENSION, Clip
from ...dataset.codes import Codes, known_origin, read_codes
from ...dataset.origins import is_stale
from ...dataset.usage import DropReason
from ...errors import DataError, StorageError
from ...messages import NOTHING, Message
from ...reading import StrPath
from ...shards.index_file import IndexEntry, entry_of
from ...shards.manifest import Dropped, Statuses, file_states, look_at
from ...shards.wire import Sentence, encode_sentence
from ...text.transcripts import TextError, TextFault, read_transcript

_REASONS = {
    TextFault.UNREADABLE: DropReason.UNREADABLE_TEXT,
    TextFault.NOT_UTF8: DropReason.UNREADABLE_TEXT,
    TextFault.BINARY: DropReason.UNREADABLE_TEXT,
    TextFault.TOKENS: DropReason.TOKENS_IN_TEXT,
    TextFault.EMPTY: DropReason.EMPTY_TEXT,
}


class ReadClip(NamedTuple):
    """A clip after its files were read: serialised, or the reason why not.

    It goes from process to process, so it holds bytes and numbers, and not the clip.
    """

    states: bytes
    """`file_states` from before the files were read."""
    content: bytes = b""
    entry: IndexEntry | None = None
    dropped: Dropped | None = None


def read_clip(clip: Clip, excluded: frozenset[str]) -> ReadClip:
    """Read one clip's transcript and codes.

    Args:
        excluded: clips to leave out, as `SPEAKER/NAME`.

    Raises:
        StorageError: the system refused to read a file, or one is gone that was listed.
    """
    statuses = look_at(clip)
    states = file_states(clip, statuses)
    if clip.key in excluded:
        loss = dropped(clip, DropReason.EXCLUDED, Message("{clip} is left out.", clip=clip.key), NOTHING)
        return ReadClip(states, dropped=loss)
    try:
        sentence = Sentence((_read_text(clip, statuses),), _read_codes(clip, statuses))
    except _DropError as error:
        return ReadClip(states, dropped=dropped(clip, error.reason, error.message, error.hint))
    content = encode_sentence(sentence)
    return ReadClip(states, content, entry_of(clip.speaker, sentence, content))


def dropped(clip: Clip, reason: DropReason, what: Message, what_to_do: Message) -> Dropped:
    """Return the record of a clip that is not packed."""
    return Dropped(clip=clip.key, reason=reason, what=what, what_to_do=what_to_do)


class _DropError(DataError):
    def __init__(self, reason: DropReason, message: Message, hint: Message) -> None:
        super().__init__(message, hint)
        self.reason = reason


def _read_text(clip: Clip, statuses: Statuses) -> str:
    if clip.text_file is None:
        name = clip.audio_files[0] if clip.audio_files else clip.codes_file
        advice = clip.text_advice or Message("Write what is said beside it.")
        raise _DropError(DropReason.NO_TEXT, Message("{file} has no transcript.", file=name), advice)
    try:
        return read_transcript(clip.text_file, status=statuses[0]).packed
    except TextError as error:
        if error.fault is TextFault.UNREADABLE:
            _refuse_vanished(clip.text_file)
        raise _DropError(_REASONS[error.fault], error.message, error.hint) from error


def _read_codes(clip: Clip, statuses: Statuses) -> Codes:
    if len(clip.audio_files) > 1:
        names = ", ".join(path.name for path in clip.audio)
        raise _DropError(
            DropReason.SEVERAL_RECORDINGS,
            Message(
                "{key} has the recordings {names}; whose codes these are cannot be known.",
                key=clip.key,
                names=names,
            ),
            Message("Keep one of them, or rename one with its transcript, and extract again."),
        )
    if clip.codes_file is None:
        raise _without_codes(clip)
    try:
        codes = read_codes(clip.codes_file, status=statuses[1])
    except DataError as error:
        _refuse_vanished(clip.codes_file)
        raise _DropError(DropReason.DAMAGED_CODES, error.message, error.hint) from error
    recording = clip.audio_files[0] if clip.audio_files else None
    if recording is not None and _are_of_another(recording, statuses[2], clip.codes_file, codes):
        raise _DropError(
            DropReason.STALE_CODES,
            Message(
                "{file} was made from another recording than {recording} is now.",
                file=clip.codes_file,
                recording=clip.audio[0].name,
            ),
            Message("Run fishtune extract again."),
        )
    return codes


def _without_codes(clip: Clip) -> _DropError:
    """Return why a clip has no codes: its recording may be one that extraction cannot use."""
    from ...audio.recordings import read_info  # only where something is missing
    from ...codec.limits import check_recording, is_too_long

    what = clip.audio[0] if clip.audio else clip.text
    if clip.is_blocked and what is not None:
        there = what.with_suffix(CODES_EXTENSION)
        return _DropError(
            DropReason.NO_CODES, Message("{file} is not a file.", file=there), Message("Rename or remove it.")
        )
    if not clip.audio:
        return _DropError(
            DropReason.NO_RECORDING,
            Message("{file} has neither recording nor codes beside it.", file=what),
            Message("Add its recording and run fishtune extract, or remove the transcript."),
        )
    reason = DropReason.UNREADABLE_RECORDING
    try:
        info = read_info(clip.audio[0])
        if is_too_long(info.frames, info.sample_rate):
            reason = DropReason.TOO_LONG
        check_recording(clip.audio[0], info)
    except DataError as error:
        _refuse_vanished(clip.audio[0])
        return _DropError(reason, error.message, error.hint)
    return _DropError(
        DropReason.NO_CODES,
        Message("{file} has no codes beside it.", file=what),
        Message("Run fishtune extract first."),
    )


def _are_of_another(audio: str, status: os.stat_result | None, path: str, codes: Codes) -> bool:
    try:
        return is_stale(audio, path, known_origin(path, codes), status)
    except DataError as error:
        _refuse_vanished(audio)
        raise _DropError(DropReason.STALE_CODES, error.message, error.hint) from error


def _refuse_vanished(path: StrPath) -> None:
    """End the stage if a file is gone that was listed before: its disk may be, and much more with it."""
    if not os.path.lexists(path):
        raise StorageError(
            "{file} was there a moment ago and is gone.",
            "Check that its disk is still mounted and run the command again; nothing was changed.",
            file=path,
        )
