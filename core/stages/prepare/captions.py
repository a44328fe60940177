"""Texts with times that came with a recording: subtitles, Whisper's JSON, TextGrids.

Times are what others have set, so they are checked, put in order and kept apart; what is said twice because a
caption scrolls is said once.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...judge.extra import PREPARE, require
from ...messages import Message
from ...reading import read_regular, reading
from ...tables import parse_json

_LARGEST = 64 << 20  # bytes
_LEFT_ALONE = Message("Remove or rename it to have its recording transcribed.")
_WORD_TIERS = ("words", "word", "tokens")
# Names of tiers that hold sentences or utterances, in the order in which they are preferred.
_TEXT_TIERS = ("utterances", "utterance", "sentences", "sentence", "phrases", "phrase", "text", "transcript")
_PAUSE = 0.3
"""Seconds of silence between two words of a tier behind which another caption begins."""
_NOT_SPOKEN = re.compile(r"[♪♫]+|^\s*[\[(][^\])]*[\])]\s*$")
"""Signs of music, and whole lines in brackets such as `[applause]`."""
_SPEAKER_MARK = re.compile(r"^(?:>>+|[-–—])\s*")


@dataclass(frozen=True, slots=True)
class Caption:
    """Some words and when they are said."""

    start: float
    """Seconds."""
    end: float
    text: str


def captions_by_recording(files: Iterable[Path]) -> dict[Path, Path]:
    """Return the file of captions of each recording, by the recording's path without its ending.

    That of `NAME.mp3` is `NAME.srt`, `NAME.en.vtt`, `NAME.json` …; without a language in its name first, and
    of several kinds always the same.
    """
    kinds = list(_READERS)
    captions = [path for path in files if path.suffix.lower() in _READERS]
    captions.sort(key=lambda path: (path.name.count("."), kinds.index(path.suffix.lower()), path.name))
    found: dict[Path, Path] = {}
    for path in captions:
        stem = path.with_suffix("")
        found.setdefault(stem, path)
        if stem.suffix:
            found.setdefault(stem.with_suffix(""), path)
    return found


def read_captions(path: Path) -> list[Caption]:
    """Return the captions of a file in the order of their times; those without words are left out.

    Raises:
        DataError: it cannot be read, is not what its ending says, or holds no captions.
        UsageError: the library that reads it is not installed.
        StorageError: the system refused to read it.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            "{file} is not a file of captions.",
            "These are read: {endings}.",
            file=path,
            endings=", ".join(_READERS),
        )
    captions = list(_in_order(reader(path)))
    if not captions:
        raise DataError("{file} has no captions with words.", _LEFT_ALONE, file=path)
    return captions


def _in_order(captions: Iterable[Caption]) -> Iterator[Caption]:
    """Yield captions by time, cut where the next one begins, without what scrolled up from the one before."""
    ordered = sorted(captions, key=lambda caption: (caption.start, caption.end))
    lines_before: list[str] = []
    for number, caption in enumerate(ordered):
        lines = [line for line in map(_spoken, caption.text.splitlines()) if line]
        fresh = _without_scrolled(lines, lines_before)
        if lines:
            lines_before = lines
        if not fresh:
            continue
        following = ordered[number + 1].start if number + 1 < len(ordered) else math.inf
        end = min(caption.end, following) if following > caption.start else caption.end
        yield replace(caption, end=end, text=" ".join(fresh))


def _without_scrolled(lines: list[str], before: list[str]) -> list[str]:
    """Return the lines that are new: a scrolling caption begins with the end of the one before it."""
    for count in range(min(len(lines), len(before)), 0, -1):
        if lines[:count] == before[-count:]:
            # A caption that repeats all of the one before it, and nothing else, may really be said twice.
            return lines[count:] if len(lines) > count or len(before) > count else lines
    return lines


def _spoken(line: str) -> str:
    """Return what is said in a line of a caption."""
    return _SPEAKER_MARK.sub("", " ".join(_NOT_SPOKEN.sub(" ", html.unescape(line)).split())).strip()


def _read_subtitles(path: Path) -> Iterator[Caption]:
    require(Message("Reading {file}", file=path), "pysubs2", install=PREPARE)
    import pysubs2

    text = _text(path)
    with reading(path, hint=_LEFT_ALONE):
        found = pysubs2.SSAFile.from_string(text, format_=path.suffix.lower().removeprefix("."))
    for event in found:
        if event.is_text:
            yield _checked(path, event.start / 1000, event.end / 1000, event.plaintext)


def _read_json(path: Path) -> Iterator[Caption]:
    """Read what openai-whisper, faster-whisper, WhisperX and whisper.cpp write."""
    content = parse_json(read_regular(path, _LARGEST), str(path))
    segments = content if isinstance(content, list) else _member(content, "segments", "transcription")
    if not isinstance(segments, list):
        raise DataError(
            "{file} is not a transcript of Whisper: it has no list of segments.", _LEFT_ALONE, file=path
        )
    for segment in segments:
        offsets = _member(segment, "offsets")  # milliseconds, whisper.cpp
        start, end = (
            (_seconds(offsets, "from", 1e-3), _seconds(offsets, "to", 1e-3))
            if offsets is not None
            else (_seconds(segment, "start"), _seconds(segment, "end"))
        )
        text = _member(segment, "text")
        if not isinstance(text, str):
            raise DataError("{file} has a segment without text.", _LEFT_ALONE, file=path)
        yield _checked(path, start, end, text)


def _member(table: Any, *names: str) -> Any:
    """Return the first of several members that a table has."""
    return next((table[name] for name in names if isinstance(table, dict) and name in table), None)


def _seconds(table: Any, name: str, unit: float = 1.0) -> float:
    value = _member(table, name)
    return value * unit if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _read_textgrid(path: Path) -> Iterator[Caption]:
    require(Message("Reading {file}", file=path), "praatio", install=PREPARE)
    from praatio.utilities import textgrid_io

    text = _text(path)
    with reading(path, hint=_LEFT_ALONE):
        tiers = textgrid_io.parseTextgridStr(text, False)["tiers"]
        name, intervals = _tier(path, [tier for tier in tiers if tier["class"] == "IntervalTier"])
        captions = [_checked(path, float(start), float(end), label) for start, end, label in intervals]
    return iter(_sentences(captions) if name in _WORD_TIERS else captions)


def _tier(path: Path, tiers: list[dict[str, Any]]) -> tuple[str, list[tuple[float, float, str]]]:
    """Return name and intervals of the tier with the words: by its name, otherwise the first with any."""
    by_name = {tier["name"].lower(): tier["entries"] for tier in reversed(tiers) if tier["entries"]}
    names = [name for name in (*_TEXT_TIERS, *_WORD_TIERS, *reversed(by_name)) if name in by_name]
    if not names:
        raise DataError("{file} has no tier of intervals with words.", _LEFT_ALONE, file=path)
    return names[0], by_name[names[0]]


def _sentences(words: Iterable[Caption]) -> Iterator[Caption]:
    """Join words into captions, a new one behind each pause."""
    joined: Caption | None = None
    for word in words:
        if joined is not None and word.start - joined.end < _PAUSE:
            joined = replace(joined, end=word.end, text=f"{joined.text} {word.text}")
            continue
        if joined is not None:
            yield joined
        joined = word
    if joined is not None:
        yield joined


def _checked(path: Path, start: float, end: float, text: str) -> Caption:
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
        raise DataError(
            "{file} has a caption from {start:g} s to {end:g} s.",
            "Correct its times, or remove the file.",
            file=path,
            start=start,
            end=end,
        )
    return Caption(start, end, text)


def _text(path: Path) -> str:
    content = read_regular(path, _LARGEST)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # as Praat writes it
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            "{file} is not in UTF-8.",
            "Save it in UTF-8, or remove it to have its recording transcribed.",
            file=path,
        ) from error


_READERS: dict[str, Callable[[Path], Iterator[Caption]]] = {
    ".srt": _read_subtitles,
    ".vtt": _read_subtitles,
    ".textgrid": _read_textgrid,
    ".json": _read_json,
}
