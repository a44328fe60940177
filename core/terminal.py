"""Text that came from elsewhere, made harmless for a terminal.

File names, transcripts, logs, records and what libraries say may hold characters that a terminal obeys
instead of showing: they move the cursor, set the clipboard or the title, make links, turn the direction of
writing. Whatever is printed goes through here, so that such characters are seen as what they are, `\\x1b`.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any, Final

# The control characters of Unicode (C0 without tab and newline, DEL, C1), both separators that some
# terminals take for a newline, what turns the direction of writing, and halves of surrogate pairs, by which
# Python stands for bytes of a file name that are not UTF-8.
_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u206f\ud800-\udfff]"
)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")


def visible(text: str) -> str:
    """Return `text` with every character that a terminal would obey written out; newlines and tabs stay."""
    return _OBEYED.sub(_written_out, text)


def visible_line(text: str) -> str:
    """Return `text` as one line: as `visible`, with newlines written out too."""
    return visible(text).replace("\n", "\\n")


def visible_output(output: bytes) -> str:
    """Return what programs wrote, made visible: their colours are left out, a return begins a new line."""
    text = _COLOUR.sub("", output.decode("utf-8", errors="backslashreplace"))
    return visible(re.sub(r"\r+\n?", "\n", text))


def json_text(content: Any, indent: int | None = None) -> str:
    """Return `content` as JSON in which every character that a terminal would obey is escaped."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shell_quoted(text: object) -> str:
    """Return `text` for a command that is shown to be copied: it can be pasted, whatever the name holds."""
    text = str(text)
    if "\n" not in text and not _OBEYED.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
    return f"$'{_OBEYED.sub(_for_the_shell, escaped)}'"


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] == "\r":
        return "\\r"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _for_the_shell(match: re.Match[str]) -> str:
    # In bytes: \x in $'…' of every shell that has it, while \u is newer.
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", errors="surrogateescape"))
