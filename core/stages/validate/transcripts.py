"""What is wrong or doubtful with a transcript, as findings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...dataset.findings import Code, Finding, error, warning
from ...errors import StorageError
from ...text.cleaning import control_characters, letter_counts, stripped_parts
from ...text.mojibake import find_mojibake
from ...text.transcripts import TextError, TextFault, read_transcript

_CODES = {
    TextFault.UNREADABLE: Code.TEXT_UNREADABLE,
    TextFault.NOT_UTF8: Code.TEXT_NOT_UTF8,
    TextFault.BINARY: Code.TEXT_BINARY,
    TextFault.TOKENS: Code.TEXT_TOKENS,
    TextFault.EMPTY: Code.TEXT_EMPTY,
}


@dataclass(frozen=True, slots=True)
class CheckedTranscript:
    """What checking a transcript gave."""

    findings: list[Finding]
    letters: int = 0
    """Letters and digits that are spoken; 0 where the transcript cannot be used."""
    syllables: int = 0
    """Those of the letters that are whole syllables."""


def check_transcript(path: Path) -> CheckedTranscript:
    """Return the findings of a transcript: one error where it cannot be used, else any number of warnings."""
    try:
        transcript = read_transcript(path)
    except TextError as failure:
        return CheckedTranscript([error(_CODES[failure.fault], path, failure.message, failure.hint)])
    except StorageError as failure:  # unlike packing, a report of what there is may go on without one file
        return CheckedTranscript([error(Code.TEXT_UNREADABLE, path, failure.message, failure.hint)])
    return CheckedTranscript(_doubtful(path, transcript.text), *letter_counts(transcript.packed))


def _doubtful(path: Path, text: str) -> list[Finding]:
    """Return what a person should know of a transcript that can be used."""
    found = []
    if stripped := stripped_parts(text):
        found.append(
            warning(
                Code.TEXT_STRIPPED,
                path,
                f"Packing takes out {' '.join(stripped)[:80]} of {path.name}.",
                "Nothing, if that is not spoken; otherwise write it without braces and angle brackets.",
            )
        )
    lines = len([line for line in text.splitlines() if line.strip()])
    if lines > 1:
        found.append(
            warning(
                Code.TEXT_LINES,
                path,
                f"{path.name} has {lines} lines, which are joined.",
                "Check that it holds this clip's transcript and nothing else.",
            )
        )
    if text.startswith("\ufeff"):
        found.append(
            warning(
                Code.TEXT_SECOND_MARK,
                path,
                f"{path.name} begins with two byte order marks; packing takes both out.",
                "Save it as UTF-8 without one, so that other programs read it too.",
            )
        )
    if controls := control_characters(text):
        found.append(
            warning(
                Code.TEXT_CONTROL_CHARACTERS,
                path,
                f"{path.name} holds control characters, such as {controls[0]!r}; packing takes them out.",
                "Check what is left of the text around them, and remove them.",
            )
        )
    if "\ufffd" in text:
        place = text.index("\ufffd")
        found.append(
            warning(
                Code.TEXT_LOST_LETTERS,
                path,
                f"Letters of {path.name} were lost in {text[max(0, place - 10) : place + 10]!r}; "
                "it is packed as it is.",
                "Write the letters in the places of \ufffd, or leave the clip out.",
            )
        )
    elif garbled := find_mojibake(text):
        found.append(
            warning(
                Code.TEXT_GARBLED,
                path,
                f"{path.name} was read in a wrong encoding once: {garbled!r}; it is packed as it is.",
                "Write it again from its source, or leave the clip out.",
            )
        )
    return found
