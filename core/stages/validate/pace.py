"""Finds clips whose words do not fit their length."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from ...dataset.findings import Finding, FindingKind, warning
from .clips import Checked

# A clip read at twice or half its speaker's median pace usually has another clip's transcript.
_FASTEST, _SLOWEST = 2.0, 0.5
_CLIPS_FOR_A_MEDIAN = 5
# What nobody says in a second: the fastest speech is 9 to 12 syllables, of 2 to 3 letters each. One sign of
# Hangul, kana or Chinese is a syllable.
_MOST_LETTERS, _MOST_SYLLABLES = 40.0, 15.0
# A clip of some seconds with hardly any text lacks words, however slow its speaker and long his pauses are.
_LEAST_LETTERS, _LETTERS_PER_SYLLABLE, _SECONDS_TO_SPEAK = 1.0, 2.5, 5.0


def reading_speed(checked: list[Checked]) -> list[Finding]:
    """Return the clips whose text does not fit their length: nobody speaks so, or not their speaker."""
    speakers: dict[str, list[tuple[float, Checked]]] = defaultdict(list)
    findings = []
    for item in checked:
        if not item.letters:
            continue
        if impossible := _impossible_pace(item):
            findings.append(impossible)
            continue
        speakers[item.clip.speaker].append((item.letters / item.seconds, item))
    for speeds in speakers.values():
        if len(speeds) < _CLIPS_FOR_A_MEDIAN:
            continue
        usual = median(speed for speed, _ in speeds)
        findings += [
            warning(
                FindingKind.READING_SPEED,
                item.audio,
                "{clip} has {speed:.1f} letters per second, its speaker usually {usual:.1f}.",
                "Compare transcript and recording: words may be missing, or belong to another clip.",
                clip=item.clip.key,
                speed=speed,
                usual=usual,
            )
            for speed, item in speeds
            if not _SLOWEST <= speed / usual <= _FASTEST
        ]
    return findings


def _impossible_pace(item: Checked) -> Finding | None:
    """Return what is wrong with a clip that nobody can have spoken, whoever else speaks in its data set."""
    letters = item.letters - item.syllables
    if letters / _MOST_LETTERS + item.syllables / _MOST_SYLLABLES > item.seconds:
        return warning(
            FindingKind.READING_SPEED,
            item.audio,
            "{clip} has {letters} letters in {seconds:.2f} s, more than anybody can say.",
            "Compare transcript and recording: it may be cut short, or the words belong to another clip.",
            clip=item.clip.key,
            letters=item.letters,
            seconds=item.seconds,
        )
    weight = letters + _LETTERS_PER_SYLLABLE * item.syllables
    if item.seconds > _SECONDS_TO_SPEAK and weight / item.seconds < _LEAST_LETTERS:
        return warning(
            FindingKind.READING_SPEED,
            item.audio,
            "{clip} has only {letters} letters in {seconds:.1f} s.",
            "Compare transcript and recording: words may be missing, or belong to another clip.",
            clip=item.clip.key,
            letters=item.letters,
            seconds=item.seconds,
        )
    return None
