"""What is wrong or doubtful with a transcript, as findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...dataset.findings import Finding, FindingKind, error, warning
from ...errors import StorageError
from ...text.cleaning import control_characters, letter_counts, stripped_parts
from ...text.mojibake import find_mojibake
from ...text.transcripts import TextError, TextFault, read_transcript

_CODES = {
    TextFault.UNREADABLE: FindingKind.TEXT_UNREADABLE,
    TextFault.NOT_UTF8: FindingKind.TEXT_NOT_UTF8,
    TextFault.BINARY: FindingKind.TEXT_BINARY,
    TextFault.TOKENS: FindingKind.TEXT_TOKENS,
    TextFault.EMPTY: FindingKind.TEXT_EMPTY,
}


@dataclass(frozen=True, slots=True)
class CheckedTranscript:
    """What checking a transcript gave."""

    findings: list[Finding]
    letters: int = 0
    """Letters and digits that are spoken; 0 where the transcript cannot be used."""
    syllables: int = 0
    """Those of the letters that are whole syllables."""
    text: str = ""
    """As it is trained."""


def check_transcript(path: Path) -> CheckedTranscript:
    """Return the findings of a transcript: one error where it cannot be used, else any number of warnings."""
    try:
        transcript = read_transcript(path)
    except TextError as failure:
        return CheckedTranscript([error(_CODES[failure.fault], path, failure.message, failure.hint)])
    except StorageError as failure:  # unlike packing, a report of what there is may go on without one file
        return CheckedTranscript([error(FindingKind.TEXT_UNREADABLE, path, failure.message, failure.hint)])
    return CheckedTranscript(
        _doubtful(path, transcript.text), *letter_counts(transcript.packed), transcript.packed
    )


def _doubtful(path: Path, text: str) -> list[Finding]:
    """Return what a user should know of a transcript that can be used."""
    found = []
    if stripped := stripped_parts(text):
        found.append(
            warning(
                FindingKind.TEXT_STRIPPED,
                path,
                "Packing takes out {parts} of {file}.",
                "Nothing, if that is not spoken; otherwise write it without braces and angle brackets.",
                parts=" ".join(stripped)[:80],
                file=path.name,
            )
        )
    lines = len([line for line in text.splitlines() if line.strip()])
    if lines > 1:
        found.append(
            warning(
                FindingKind.TEXT_LINES,
                path,
                "{file} has {number} lines, which are joined.",
                "Check that it holds this clip's transcript and nothing else.",
                file=path.name,
                number=lines,
            )
        )
    if text.startswith("\ufeff"):
        found.append(
            warning(
                FindingKind.TEXT_SECOND_MARK,
                path,
                "{file} begins with two byte order marks; packing takes both out.",
                "Save it as UTF-8 without one, so that other programs read it too.",
                file=path.name,
            )
        )
    if controls := control_characters(text):
        found.append(
            warning(
                FindingKind.TEXT_CONTROL_CHARACTERS,
                path,
                "{file} holds control characters, such as {character}; packing takes them out.",
                "Check what is left of the text around them, and remove them.",
                file=path.name,
                character=repr(controls[0]),
            )
        )
    if "\ufffd" in text:
        place = text.index("\ufffd")
        found.append(
            warning(
                FindingKind.TEXT_LOST_LETTERS,
                path,
                "Letters of {file} were lost in {text}; it is packed as it is.",
                "Write the letters in the places of \ufffd, or leave the clip out.",
                file=path.name,
                text=repr(text[max(0, place - 10) : place + 10]),
            )
        )
    elif garbled := find_mojibake(text):
        found.append(
            warning(
                FindingKind.TEXT_GARBLED,
                path,
                "{file} was read in a wrong encoding once: {text}; it is packed as it is.",
                "Write it again from its source, or leave the clip out.",
                file=path.name,
                text=repr(garbled),
            )
        )
    return found
