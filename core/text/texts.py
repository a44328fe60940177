"""What a voice is given to say: our texts of a language, or a user's own in a file."""

from __future__ import annotations

from pathlib import Path

from ..config.presets import TextsPreset, preset_names, texts_preset
from ..config.strict import parse
from ..errors import MalformedFileError, SettingsError, UsageError
from ..messages import Message
from ..reading import check_regular, read_regular
from ..tables import parse_toml
from .transcripts import check_typed

_LARGEST = 1 << 20
"""Bytes of a file of texts."""


def texts_of(source: str) -> list[str]:
    """Return the texts of a language (`en`), or of a file: TOML as ours, or one text per line.

    Empty lines, and those that begin with `#`, are passed over in a file of lines.

    Raises:
        UsageError: there are no such texts, or one cannot be spoken; the message names it.
        SettingsError: a TOML file has wrong keys or values.
        StorageError: the system refused to read the file.
    """
    path = Path(source)
    if not path.suffix and not path.exists():
        return texts_preset(source).texts
    check_regular(
        path,
        UsageError,
        Message(
            "Give a file with one text per line, or a language with texts of ours: {languages}.",
            languages=", ".join(preset_names("texts")),
        ),
    )
    texts = _toml(path) if path.suffix.lower() == ".toml" else _lines(path)
    if not texts:
        raise UsageError("{file} has no texts.", "Write one per line.", file=path)
    for number, text in enumerate(texts, start=1):
        check_typed(text, Message("Text {number} of {file}", number=number, file=path))
    return texts


def _toml(path: Path) -> list[str]:
    try:
        found = parse_toml(read_regular(path, _LARGEST, UsageError), str(path))
    except MalformedFileError as error:
        raise SettingsError(error.message, error.hint) from error
    return parse(TextsPreset, found, str(path)).texts


def _lines(path: Path) -> list[str]:
    content = read_regular(path, _LARGEST, UsageError)
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError("{file} is not UTF-8.", "Save it as UTF-8 text.", file=path) from error
    return [text for line in lines if (text := line.strip()) and not text.startswith("#")]
