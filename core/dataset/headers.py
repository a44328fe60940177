"""The header of `.npy` files, read strictly and without an array library.

What a header says is believed only where it is exactly what the file holds: nothing is allocated for a
length that only a header claims. Format: numpy.lib.format, versions 1.0 to 3.0.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..messages import Message

_MAGIC: Final = b"\x93NUMPY"
_LONGEST: Final = 4096  # bytes; the header of a plain array has 128
_LARGEST_SIDE: Final = 2**40
_DESCR = re.compile(r"[<>|=]?([biufcSUVMmO])([0-9]{0,4})(?:\[[a-z0-9]{1,8}\])?")
_CODES = re.compile(r"[<>|=]?[iu][1248]")
_PAIR = re.compile(
    r"""[ ]*(?P<quote>['"])(?P<key>descr|fortran_order|shape)(?P=quote)[ ]*:[ ]*
        (?:'(?P<text>[^'"]*)'|"(?P<other>[^'"]*)"|(?P<truth>True|False)|\((?P<shape>[0-9, ]*)\))
        [ ]*(?:,|\Z)""",
    re.VERBOSE,
)
_SIDE = re.compile(r" *(0|[1-9][0-9]{0,18}) *")
_BYTES_A_LETTER: Final = 4  # of numpy's fixed strings


class HeaderError(ValueError):
    """The file is no array that can be understood; the message says why, as the end of a sentence."""

    torn = False
    """Whether it looks like the beginning of an array."""


class TornHeaderError(HeaderError):
    """The file ends within its header, or holds nothing."""

    torn = True


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What a `.npy` file says it holds."""

    descr: str
    """Type of a value as numpy writes it: `<i8`."""
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int
    """Bytes before the first value."""
    size: int
    """Bytes of the whole file."""
    is_codes: bool
    """Whether the values are integers in two dimensions."""


def parse_header(start: bytes) -> ArrayHeader:
    """Return what a `.npy` file that begins with `start` says it holds.

    Args:
        start: the whole file, or at least 4 KiB of it.

    Raises:
        TornHeaderError: the file is empty, all zeros, or ends within the header.
        HeaderError: it is no such file, or its header is not what numpy writes for a plain array.
    """
    if not start.startswith(_MAGIC):
        if not start.strip(b"\0"):
            raise TornHeaderError(
                Message("it is empty") if not start else Message("it holds nothing but zeros")
            )
        raise (TornHeaderError if _MAGIC.startswith(start) else HeaderError)(
            Message("it does not begin like one")
        )
    if len(start) < 12:
        raise TornHeaderError(Message("it ends within its header"))
    if start[6] not in (1, 2, 3) or start[7] != 0:
        raise HeaderError(Message("its format {major}.{minor} is not known", major=start[6], minor=start[7]))
    begin = 10 if start[6] == 1 else 12
    end = begin + int.from_bytes(start[8:begin], "little")
    if end > _LONGEST:
        raise HeaderError(Message("its header has no plausible length"))
    if end > len(start):
        raise TornHeaderError(Message("it ends within its header"))
    return _parse(start[begin:end], end)


# Clips of one length have the same header.
@lru_cache(maxsize=4096)
def _parse(text: bytes, offset: int) -> ArrayHeader:
    try:
        body = text.decode("ascii").strip(" \n")
    except UnicodeDecodeError as error:
        raise HeaderError(Message("its header is not text")) from error
    if not (body.startswith("{") and body.endswith("}")):
        raise HeaderError(Message("its header is not a table"))
    found: dict[str, re.Match[str]] = {}
    body, position = body[1:-1].rstrip(" "), 0
    while position < len(body):
        pair = _PAIR.match(body, position)
        if pair is None or pair["key"] in found:
            raise HeaderError(Message("its header is not that of a plain array"))
        found[pair["key"]] = pair
        position = pair.end()
    if len(found) != 3:
        raise HeaderError(Message("its header is not that of a plain array"))
    descr = found["descr"]["text"] or found["descr"]["other"] or ""
    truth, shape = found["fortran_order"]["truth"], found["shape"]["shape"]
    value = _DESCR.fullmatch(descr)
    if truth is None or shape is None or value is None:
        raise HeaderError(Message("its header is not that of a plain array"))
    sides = _shape(shape)
    item = int(value[2] or 1) * (_BYTES_A_LETTER if value[1] == "U" else 1)
    is_codes = _CODES.fullmatch(descr) is not None and len(sides) == 2
    return ArrayHeader(
        descr, truth == "True", sides, offset, offset + math.prod(sides) * item, is_codes=is_codes
    )


def _shape(text: str) -> tuple[int, ...]:
    sides = text.split(",")
    if not sides[-1].strip():  # (10,) and () but not (10)
        sides.pop()
    elif len(sides) == 1:
        raise HeaderError(Message("its header gives no shape"))
    matches = [_SIDE.fullmatch(side) for side in sides]
    shape = tuple(int(match[1]) for match in matches if match)
    if len(shape) != len(sides) or len(shape) > 32 or any(side > _LARGEST_SIDE for side in shape):
        raise HeaderError(Message("its header gives a shape that cannot be"))
    return shape


def whole_codes_shape(path: Path) -> tuple[int, int] | None:
    """Return `(codebooks, frames)` of a code file, or None if it is torn or holds anything else.

    Only the header is read and held against the file's size; the codes themselves are not looked at.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            header = parse_header(file.read(_LONGEST))
            size = file.seek(0, 2)
    except (OSError, HeaderError):
        return None
    if not header.is_codes or header.size != size or not math.prod(header.shape):
        return None
    codebooks, frames = header.shape
    return codebooks, frames
