"""Transcripts as every stage reads them: one reader, one answer to whether a text can be used."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import DataError, UsageError
from ..file_names import TEXT_EXTENSION
from ..messages import Message, plural
from ..reading import StrPath, check_regular, read_regular, reading
from .cleaning import has_words, packed_text, spoken_text
from .encodings import likely_encoding
from .markers import control_tokens, has_lone_phoneme_mark

LARGEST_TRANSCRIPT = 64 << 10
"""Bytes. The longest clip (190 s) has about 10 kB of fast speech, in three-byte letters."""


class TextFault(StrEnum):
    """Why a text cannot be used."""

    UNREADABLE = "unreadable"
    NOT_UTF8 = "not-utf8"
    BINARY = "binary"
    TOKENS = "tokens"
    EMPTY = "empty"


class TextError(DataError):
    """A transcript that cannot be used; `fault` says why."""

    def __init__(
        self, message: str, hint: str = "", /, fault: TextFault = TextFault.UNREADABLE, **values: object
    ) -> None:
        super().__init__(message, hint, **values)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript that can be used."""

    text: str
    """As it is in the file, without its byte order mark."""
    packed: str
    """As it is packed and trained on."""


def read_transcript(
    path: StrPath, limit: int = LARGEST_TRANSCRIPT, status: os.stat_result | None = None
) -> Transcript:
    """Return the transcript in a file.

    Args:
        limit: bytes.
        status: of the file a moment ago, where it is known.

    Raises:
        TextError: it is not a file of reasonable size, not UTF-8 text, has no words, or holds tokens that
            steer the model.
        StorageError: the system refused to read it.
    """
    text = _decode(read_regular(path, limit, TextError, status), path)
    if not text.strip():
        raise TextError(
            "{file} is empty.", "Write what is said, or leave the clip out.", TextFault.EMPTY, file=path
        )
    _refuse_tokens(text, str(path))
    packed = packed_text(text)
    if not has_words(packed):
        raise TextError(
            "{file} has no words: {text} (parts in braces and angle brackets do not count).",
            "Write what is said, or leave the clip out.",
            TextFault.EMPTY,
            file=path,
            text=repr(text.strip()[:60]),
        )
    return Transcript(text, packed)


def check_voice(file: Path) -> None:
    """Raise UsageError where a recording that gives a voice, or its codes, is not there."""
    check_regular(file, UsageError, "Name a recording of the voice, 3 to 15 s long.")


def transcript_beside(file: Path, hint: str) -> str:
    """Return what is said in a recording, from the `.lab` file beside it, as training saw it.

    Args:
        file: the recording, or its codes.
        hint: what to do where there is no transcript.

    Raises:
        UsageError: there is no such recording, or no transcript beside it.
        TextError, StorageError: see `read_transcript`.
    """
    check_voice(file)
    transcript = file.with_suffix(TEXT_EXTENSION)
    with reading(transcript):
        missing = not transcript.exists()
    if missing:
        raise UsageError("What is said in {file} is not known.", hint, file=file)
    return read_transcript(transcript).packed


def check_typed(text: str, flag: str) -> None:
    """Refuse a typed text that has no words, is too long, or would steer the model.

    Args:
        flag: where it was typed, for the message.

    Raises:
        UsageError: it cannot be spoken.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UsageError(
            "{flag} is not UTF-8 text.", "Set a UTF-8 locale, such as LANG=C.UTF-8, and retype it.", flag=flag
        ) from error
    if size > LARGEST_TRANSCRIPT:
        raise UsageError(
            "{flag} is longer than {limit:,} bytes.",
            "Split it into sentences.",
            flag=flag,
            limit=LARGEST_TRANSCRIPT,
        )
    try:
        _refuse_tokens(text, flag)
    except TextError as error:
        raise UsageError(error.message, error.hint) from error
    if not has_words(packed_text(text)):
        raise UsageError(
            "{flag} has no words (parts in braces and angle brackets do not count).",
            "Write what is to be said.",
            flag=flag,
        )


def _decode(content: bytes, path: StrPath) -> str:
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")  # a fifth of the time of "utf-8-sig"
    except UnicodeDecodeError as error:
        raise TextError(
            "{file} is not UTF-8.", _change_encoding(content, path), TextFault.NOT_UTF8, file=path
        ) from error
    if "\x00" in text:
        encoding = likely_encoding(content)
        if encoding is not None:
            raise TextError(
                "{file} is {encoding} text without a byte order mark, not UTF-8.",
                _change_encoding(content, path),
                TextFault.BINARY,
                file=path,
                encoding=encoding.upper(),
            )
        raise TextError(
            "{file} holds NUL characters: it is not text, or its end was never written.",
            "Write the transcript again.",
            TextFault.BINARY,
            file=path,
        )
    return text


def _change_encoding(content: bytes, path: StrPath) -> str:
    """Return what to do about a file that is not UTF-8: where it can be known, a command."""
    replaced = content.decode("utf-8", "replace")
    lost = replaced.count("\ufffd")
    if sum(sign > "\x7f" for sign in replaced) > 4 * lost:
        first = replaced.index("\ufffd")
        around = replaced[max(0, first - 10) : first + 10]
        return plural(
            lost,
            "It is UTF-8 with a damaged place: write the letters at {place} again.",
            "It is UTF-8 with {number} damaged places: write the letters at {place} again.",
            place=repr(around),
        )
    encoding = likely_encoding(content)
    if encoding is None:
        return Message("Open it in an editor with its own encoding and save it as UTF-8.")
    shown = " ".join(content.decode(encoding).split())[:30]
    return Message(
        "It is probably {encoding}, and then reads {shown}. Change it in place with: python3 "
        '-c "import pathlib, sys; p = pathlib.Path(sys.argv[1]); '
        "p.write_bytes(p.read_bytes().decode('{codec}').encode())\" {file}",
        encoding=encoding.upper(),
        shown=repr(shown),
        codec=encoding,
        file=shlex.quote(str(path)),
    )


def _refuse_tokens(text: str, name: str) -> None:
    if "<" not in text:
        return
    spoken = spoken_text(text)
    if tokens := control_tokens(spoken):
        raise TextError(
            "{name} holds {token}, which steers the model and is not spoken.",
            "Remove it from the text.",
            TextFault.TOKENS,
            name=name,
            token=tokens[0],
        )
    if has_lone_phoneme_mark(spoken):
        raise TextError(
            "{name} holds phonemes without their beginning or end.",
            "Write them as <|phoneme_start|>…<|phoneme_end|>, or remove the markers.",
            TextFault.TOKENS,
            name=name,
        )
