"""A look at `.npy` files that opens no array library: is the file whole, and of which shape?"""

from __future__ import annotations

import ast
import re
from pathlib import Path

_MAGIC = b"\x93NUMPY"
_INTEGER = re.compile(r"[<>|][iu]([1248])")
_ENOUGH = 256  # bytes; the header of a plain array has 128


def whole_codes_shape(path: Path) -> tuple[int, int] | None:
    """Return `(codebooks, frames)` of a code file, or None if it is torn or holds anything else.

    Only the header is read and held against the file's size; the codes themselves are not looked at.
    The header's format: numpy.lib.format, versions 1.0 to 3.0.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_ENOUGH)
    except OSError:
        return None
    if not start.startswith(_MAGIC) or len(start) < 12:
        return None
    begin = 10 if start[6] == 1 else 12
    end = begin + int.from_bytes(start[8:begin], "little")
    try:
        header = ast.literal_eval(start[begin:end].decode("utf-8").strip())
        codebooks, frames = header["shape"]
        integer = _INTEGER.fullmatch(header["descr"])
    except (ValueError, SyntaxError, TypeError, KeyError, UnicodeDecodeError):
        return None
    if integer is None or size != end + codebooks * frames * int(integer[1]) or not codebooks * frames:
        return None
    return codebooks, frames
