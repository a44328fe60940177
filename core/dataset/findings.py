"""What the data set's checks find: one type for the report, the wizard's table and `--json`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict

from ..data_model import DataModel
from ..messages import Message

T = TypeVar("T")


class Severity(StrEnum):
    """How bad a finding is. An error keeps a clip, or everything, from being used."""

    ERROR = "error"
    WARNING = "warning"


class FindingKind(StrEnum):
    """What kind of finding it is; scripts filter by it."""

    NO_SPEAKERS = "no-speakers"
    NOT_IN_SPEAKER_FOLDER = "not-in-speaker-folder"
    NESTED_TOO_DEEP = "nested-too-deep"
    FOLDER_UNREADABLE = "folder-unreadable"
    BAD_NAME = "bad-name"
    NOT_A_FILE = "not-a-file"
    ENTRY_REFUSED = "entry-refused"
    UNKNOWN_FORMAT = "unknown-format"
    AUDIO_TWICE = "audio-twice"
    TEXT_IN_TABLE = "text-in-table"
    TEXT_MISSING = "text-missing"
    TEXT_TWICE = "text-twice"
    AUDIO_MISSING = "audio-missing"
    TEXT_UNREADABLE = "text-unreadable"
    TEXT_NOT_UTF8 = "text-not-utf8"
    TEXT_BINARY = "text-binary"
    TEXT_TOKENS = "text-tokens"
    TEXT_EMPTY = "text-empty"
    TEXT_STRIPPED = "text-stripped"
    TEXT_LINES = "text-lines"
    TEXT_SECOND_MARK = "text-second-mark"
    TEXT_CONTROL_CHARACTERS = "text-control-characters"
    TEXT_LOST_LETTERS = "text-lost-letters"
    TEXT_GARBLED = "text-garbled"
    AUDIO_UNREADABLE = "audio-unreadable"
    AUDIO_EMPTY = "audio-empty"
    AUDIO_TOO_LONG = "audio-too-long"
    SAMPLE_RATE_LOW = "sample-rate-low"
    ONE_SIDED = "one-sided"
    OPPOSITE_PHASE = "opposite-phase"
    CLIPPING = "clipping"
    NEAR_SILENCE = "near-silence"
    LOUDNESS_SPREAD = "loudness-spread"
    SAME_AUDIO = "same-audio"
    READING_SPEED = "reading-speed"
    TOO_LITTLE = "too-little"
    OTHER_WORDS = "other-words"
    OTHER_LANGUAGE = "other-language"
    MISSING_WORDS = "missing-words"
    ADDED_WORDS = "added-words"
    CUT_OFF = "cut-off"
    OTHER_VOICE = "other-voice"
    SEVERAL_VOICES = "several-voices"
    UNUSUAL_PACE = "unusual-pace"
    UNUSUAL_PITCH = "unusual-pitch"
    NOISY = "noisy"
    LONG_PAUSE = "long-pause"
    DAMAGED_SOUND = "damaged-sound"
    REVERBERANT = "reverberant"
    LITTLE_VARIETY = "little-variety"
    EXCLUDED_UNKNOWN = "excluded-unknown"


LEAVES_OUT = frozenset(
    {
        FindingKind.NOT_IN_SPEAKER_FOLDER,
        FindingKind.NESTED_TOO_DEEP,
        FindingKind.FOLDER_UNREADABLE,
        FindingKind.BAD_NAME,
        FindingKind.NOT_A_FILE,
        FindingKind.ENTRY_REFUSED,
        FindingKind.UNKNOWN_FORMAT,
    }
)
"""Findings about what is no clip and is left out by every stage; each stage says so."""


class Finding(DataModel):
    """One thing that is wrong or doubtful with a data set."""

    model_config = ConfigDict(frozen=True)

    severity: Severity
    code: FindingKind
    path: Path
    """The file or folder it is about."""
    what: Message
    """What is wrong, one sentence."""
    what_to_do: Message
    """The next step, one sentence."""


def clip_of(path: Path, data: Path) -> str | None:
    """Return the clip that a file of a data set belongs to, as `SPEAKER/NAME`; None for any other path."""
    try:
        inside = path.relative_to(data)
    except ValueError:
        return None
    return inside.with_name(path.stem).as_posix() if len(inside.parts) in (2, 3) else None


def by_kind(
    findings: Iterable[T], kind: Callable[[T], object] = attrgetter("severity", "code")
) -> list[list[T]]:
    """Return findings in groups of one severity and kind, the groups in the order of their first ones.

    Args:
        kind: gives severity and kind of what is no `Finding` yet.
    """
    groups: dict[object, list[T]] = {}
    for finding in findings:
        groups.setdefault(kind(finding), []).append(finding)
    return list(groups.values())


def error(code: FindingKind, path: Path, what: str, what_to_do: str, /, **values: object) -> Finding:
    """Return a finding that keeps `path` from being used; `values` fill in the places of both sentences."""
    return _finding(Severity.ERROR, code, path, what, what_to_do, values)


def warning(code: FindingKind, path: Path, what: str, what_to_do: str, /, **values: object) -> Finding:
    """Return a finding that a user should know of; `path` can be used."""
    return _finding(Severity.WARNING, code, path, what, what_to_do, values)


def _finding(
    severity: Severity, code: FindingKind, path: Path, what: str, what_to_do: str, values: dict[str, object]
) -> Finding:
    return Finding(
        severity=severity,
        code=code,
        path=path,
        what=Message.of(what, values),
        what_to_do=Message.of(what_to_do, values),
    )
