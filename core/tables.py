"""JSON and TOML, read with bounds: the one way in for tables that somebody else may have written.

Size, depth and numbers are bounded, and every failure is one `MalformedFileError`. What a damaged or
hostile file can do otherwise: exhaust the stack or the memory, or hand on a number that no shape, time or
count can have.
"""

from __future__ import annotations

import copy
import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any, Final, NoReturn

from .errors import MalformedFileError
from .messages import Message
from .reading import read_regular

LARGEST_JSON: Final = 64 << 20
"""Bytes. The largest that is ordinary, a published `tokenizer.json`, has 12 MiB."""
LARGEST_TOML: Final = 1 << 20
"""Bytes."""
DEEPEST: Final = 64
"""Tables and lists inside one another."""
LARGEST_INTEGER: Final = 2**63 - 1
_TOML_TOKEN = re.compile(r"""[\w-]+|"[^"\n]*"?|'[^'\n]*'?|[ \t]+|[\s\S]""")


class _OutOfBoundsError(ValueError):
    """A value that no table of ours can hold."""


def read_json(path: Path, limit: int = LARGEST_JSON, *, unique_keys: bool = False) -> Any:
    """Return what a JSON file holds.

    Args:
        limit: bytes; a larger file is refused before it is read.
        unique_keys: see `parse_json`.

    Raises:
        MalformedFileError: missing, no regular file, too large, not JSON, or out of bounds.
        StorageError: the system refused to read it.
    """
    return parse_json(read_regular(path, limit, MalformedFileError), str(path), unique_keys=unique_keys)


def parse_json(content: bytes | str, name: str, *, unique_keys: bool = False) -> Any:
    """Return what a JSON text holds; a byte order mark in front is skipped.

    Args:
        name: the file's name for messages.
        unique_keys: refuse a key that stands twice in one object, of which readers take different values.

    Raises:
        MalformedFileError: not JSON, too deep, or with numbers that are not finite or beyond 64 bits.
    """
    try:
        found = json.loads(
            _text(content),
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_no_constant,
            object_pairs_hook=_unique if unique_keys else None,
        )
        _check(found)
    except (ValueError, RecursionError) as error:
        raise _malformed(name, "JSON", error) from error
    return found


def check_bounds(found: Any, name: str) -> None:
    """Refuse what `parse_json` would: for tables that a library has read.

    Raises:
        MalformedFileError: too deep, or with numbers that are not finite or beyond 64 bits.
    """
    try:
        _check(found)
    except ValueError as error:
        raise _malformed(name, "JSON", error) from error


def read_toml(path: Path, limit: int = LARGEST_TOML) -> dict[str, Any]:
    """Return what a TOML file holds; a byte order mark, as Notepad writes it, is skipped.

    Raises:
        MalformedFileError: missing, no regular file, too large, not TOML, or out of bounds.
        StorageError: the system refused to read it.
    """
    return parse_toml(read_regular(path, limit, MalformedFileError), str(path))


def parse_toml(content: bytes | str, name: str) -> dict[str, Any]:
    """Return what a TOML text holds; see `parse_json`."""
    try:
        text = _text(content)
        _check_dotted_keys(text)
        found = tomllib.loads(text, parse_float=_finite)
        _check(found)
    except (ValueError, RecursionError) as error:
        raise _malformed(name, "TOML", error) from error
    return found


def _check_dotted_keys(text: str) -> None:
    """Refuse a key of very many parts, `a.a.a…`: the parser's time grows with their square."""
    parts, is_part = 0, False
    for token in _TOML_TOKEN.finditer(text):
        first = token[0][0]
        if first == "." and is_part:
            parts, is_part = parts + 1, False
            if parts > DEEPEST:
                raise _OutOfBoundsError(
                    Message("tables and lists lie more than {limit} deep in one another", limit=DEEPEST)
                )
        elif first in "\"'" or first in "_-" or first.isalnum():
            parts, is_part = 0 if is_part else parts, True
        elif first not in " \t":
            parts, is_part = 0, False


def _text(content: bytes | str) -> str:
    return content.decode("utf-8-sig") if isinstance(content, bytes) else content.removeprefix("\ufeff")


def _integer(digits: str) -> int:
    if len(digits) > len(str(LARGEST_INTEGER)) + 1:
        raise _OutOfBoundsError(Message("it holds a number of {digits} digits", digits=len(digits)))
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _OutOfBoundsError(
            Message("it holds {digits}, which is not a number that can be used", digits=digits[:20])
        )
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise _OutOfBoundsError(Message("the key {key} stands twice in one place", key=repr(twice[:80])))
    return found


def _no_constant(name: str) -> NoReturn:
    raise _OutOfBoundsError(Message("it holds {name}, which is not a number that can be used", name=name))


def _check(found: Any) -> None:
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        inside: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inside += value.keys()
                inside += value.values()
            elif isinstance(value, list):
                inside += value
            elif isinstance(value, int) and not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
                raise _OutOfBoundsError(Message("it holds an integer that does not fit 64 bits"))
            elif isinstance(value, float) and not math.isfinite(value):
                raise _OutOfBoundsError(
                    Message("it holds {value}, which is not a number that can be used", value=value)
                )
            elif isinstance(value, str) and not _is_text(value):
                raise _OutOfBoundsError(Message("it holds half of a surrogate pair, which is not text"))
        if not inside:
            return
        level = inside
    raise _OutOfBoundsError(
        Message("tables and lists lie more than {limit} deep in one another", limit=DEEPEST)
    )


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _malformed(name: str, kind: str, error: Exception) -> MalformedFileError:
    match error:
        case UnicodeDecodeError():
            return MalformedFileError(
                "{name} is not valid {kind}: it is not UTF-8 text.", "Save it as UTF-8.", name=name, kind=kind
            )
        case RecursionError():
            reason = Message("tables and lists lie more than {limit} deep in one another", limit=DEEPEST)
        case _OutOfBoundsError() | tomllib.TOMLDecodeError():
            reason = Message.of(str(error), {})
        case json.JSONDecodeError():
            reason = Message(
                "{reason} (line {line}, column {column})",
                reason=error.msg,
                line=error.lineno,
                column=error.colno,
            )
        case _:  # int() of thousands of digits, a date that no calendar has
            reason = Message("it holds a value that cannot be read")
    return MalformedFileError(
        "{name} is not valid {kind}: {reason}.",
        "It may be damaged: correct or replace it.",
        name=name,
        kind=kind,
        reason=reason,
    )


def with_changes(there: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the tables `there` with what changed from `before` to `after` put on top, key by key.

    Of a list (the utterances left out) only what was added and removed is.
    """
    merged = copy.deepcopy(there)
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict | None) and isinstance(new, dict | None):
            merged[key] = with_changes(merged.get(key, {}), old or {}, new or {})
            if not merged[key]:
                del merged[key]
        elif new is None:
            merged.pop(key, None)
        elif isinstance(old, list) and isinstance(new, list) and isinstance(merged.get(key), list):
            kept = [item for item in merged[key] if item in new or item not in old]
            merged[key] = kept + [item for item in new if item not in old and item not in kept]
        else:
            merged[key] = new
    return merged
