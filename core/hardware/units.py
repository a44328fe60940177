"""Sizes of memory as people write and read them."""

from __future__ import annotations

import re
from typing import Final

from ..errors import UsageError

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3
_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "k": KIB,
    "m": MIB,
    "g": GIB,
}


def format_bytes(size: int) -> str:
    """Return a size in its binary unit: `512 B`, `640 KiB`, `14.2 MiB`, `80.0 GiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if abs(size) >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / KIB:.0f} KiB" if abs(size) >= KIB else f"{size} B"


def parse_bytes(text: str) -> int:
    """Return bytes of `24GiB`, `24 GB`, `512M` or a plain number of bytes; K, M and G alone are binary.

    Raises:
        UsageError: it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"{text!r} is no size of memory.", "Write it like 24GiB or 512MiB.")
    return int(float(match[1]) * _UNITS[match[2]])
