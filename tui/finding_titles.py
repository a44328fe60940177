"""What each kind of finding is called where many of a kind stand in one row."""

from __future__ import annotations

from ..core.dataset.findings import FindingKind
from .catalogue import mark

TITLES = {
    FindingKind.NO_SPEAKERS: mark("no speaker folders"),
    FindingKind.NOT_IN_SPEAKER_FOLDER: mark("not in a speaker's folder"),
    FindingKind.NESTED_TOO_DEEP: mark("folders too deep"),
    FindingKind.FOLDER_UNREADABLE: mark("unreadable folders"),
    FindingKind.BAD_NAME: mark("unusable names"),
    FindingKind.NOT_A_FILE: mark("folders named like files"),
    FindingKind.ENTRY_REFUSED: mark("entries that the system refuses"),
    FindingKind.UNKNOWN_FORMAT: mark("unknown formats"),
    FindingKind.AUDIO_TWICE: mark("several recordings of one name"),
    FindingKind.TEXT_IN_TABLE: mark("transcripts in a table"),
    FindingKind.TEXT_MISSING: mark("without a transcript"),
    FindingKind.TEXT_TWICE: mark("two transcripts"),
    FindingKind.AUDIO_MISSING: mark("without a recording"),
    FindingKind.TEXT_UNREADABLE: mark("unreadable transcripts"),
    FindingKind.TEXT_NOT_UTF8: mark("transcripts not in UTF-8"),
    FindingKind.TEXT_BINARY: mark("transcripts that are not text"),
    FindingKind.TEXT_TOKENS: mark("control tokens in transcripts"),
    FindingKind.TEXT_EMPTY: mark("empty transcripts"),
    FindingKind.TEXT_STRIPPED: mark("parts that packing takes out"),
    FindingKind.TEXT_LINES: mark("transcripts of several lines"),
    FindingKind.TEXT_SECOND_MARK: mark("two byte order marks"),
    FindingKind.TEXT_CONTROL_CHARACTERS: mark("control characters"),
    FindingKind.TEXT_LOST_LETTERS: mark("lost letters"),
    FindingKind.TEXT_GARBLED: mark("garbled transcripts"),
    FindingKind.AUDIO_UNREADABLE: mark("unreadable recordings"),
    FindingKind.AUDIO_EMPTY: mark("empty recordings"),
    FindingKind.AUDIO_TOO_LONG: mark("recordings too long"),
    FindingKind.SAMPLE_RATE_LOW: mark("low sample rates"),
    FindingKind.ONE_SIDED: mark("voice on some channels only"),
    FindingKind.OPPOSITE_PHASE: mark("channels of opposite phase"),
    FindingKind.CLIPPING: mark("clipped recordings"),
    FindingKind.NEAR_SILENCE: mark("nearly silent recordings"),
    FindingKind.LOUDNESS_SPREAD: mark("different loudness"),
    FindingKind.SAME_AUDIO: mark("the same recording twice"),
    FindingKind.READING_SPEED: mark("words that do not fit the length"),
    FindingKind.TOO_LITTLE: mark("too little speech"),
    FindingKind.OTHER_WORDS: mark("other words than written"),
    FindingKind.OTHER_LANGUAGE: mark("another language"),
    FindingKind.MISSING_WORDS: mark("missing words"),
    FindingKind.ADDED_WORDS: mark("added words"),
    FindingKind.CUT_OFF: mark("cut off"),
    FindingKind.OTHER_VOICE: mark("another voice"),
    FindingKind.SEVERAL_VOICES: mark("several voices"),
    FindingKind.UNUSUAL_PACE: mark("unusual pace"),
    FindingKind.UNUSUAL_PITCH: mark("unusual pitch"),
    FindingKind.NOISY: mark("noisy recordings"),
    FindingKind.LONG_PAUSE: mark("long pauses"),
    FindingKind.DAMAGED_SOUND: mark("damaged sound"),
    FindingKind.REVERBERANT: mark("reverberation"),
    FindingKind.LITTLE_VARIETY: mark("little variety"),
    FindingKind.EXCLUDED_UNKNOWN: mark("unknown clips to leave out"),
}


def title_of(kind: FindingKind) -> str:
    """Return the key of the catalogue for what a kind is called; a newer one has its own name."""
    return TITLES.get(kind, kind.value.replace("-", " "))
