"""Names of files and folders: which can be shown and written, and how those that cannot are shown."""

from __future__ import annotations

import hashlib
import os
import unicodedata

TEXT_EXTENSION = ".lab"
"""Of transcripts, where no other is chosen."""
_UNUSABLE_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
# Embeddings, overrides and isolates turn the order of what stands beside them, in reports too.
_DIRECTION = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
# Bytes of a name that are kept in the name of something beside it: with all that is added, it stays below
# the 143 bytes that encrypted home folders allow (255 elsewhere), of which a Hangul syllable takes three.
_KEPT_BYTES = 64


def is_text(name: str) -> bool:
    """Return whether a name or path is UTF-8: other bytes arrive as halves of surrogate pairs."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_usable_name(name: str) -> bool:
    """Return whether reports, logs and shards can carry a name: UTF-8 without control characters.

    Everything else passes: spaces of every kind, joiners, private characters, and characters that are newer
    than Python's tables.
    """
    if name.isprintable():
        return True
    return not any(
        unicodedata.category(character) in _UNUSABLE_CATEGORIES or character in _DIRECTION
        for character in name
        if not character.isprintable()
    )


def visible_name(name: str) -> str:
    """Return a name with backslash escapes in place of what cannot be shown or is not UTF-8."""
    text = os.fsencode(name).decode("utf-8", errors="backslashreplace")
    return "".join(
        character if is_usable_name(character) else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def short_name(name: str) -> str:
    """Return `name`, or, where it is long, its end with a hash of the whole: at most 81 bytes.

    For names that are made from another one and must not become too long for the file system.
    """
    content = os.fsencode(name)
    if len(content) <= _KEPT_BYTES:
        return name
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    return f"{digest}-{content[-_KEPT_BYTES:].decode('utf-8', errors='ignore')}"
