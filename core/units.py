"""Numbers as people read them."""

from __future__ import annotations

import math
import re
from typing import Final

from .errors import UsageError
from .messages import Message

GIB: Final = 1024**3
"""Bytes."""
_SINGULAR = {"batches": "batch", "clips": "clip", "recordings": "recording", "steps": "step"}
"""Of units of progress."""
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_FACTORS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmg", 1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}


def format_duration(seconds: float) -> Message:
    """Return a duration: `8 s`, `4 min 20 s`, `1 h 04 min`, `3 d 02 h`; `?` for what is not finite."""
    if not math.isfinite(seconds):
        return Message("?")
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return Message("{days} d {hours:02} h", days=days, hours=hours)
    if hours:
        return Message("{hours} h {minutes:02} min", hours=hours, minutes=minutes)
    if minutes:
        return Message("{minutes} min {seconds:02} s", minutes=minutes, seconds=rest)
    return Message("{seconds} s", seconds=rest)


def format_usage(used: float, total: float) -> str:
    """Return how much of a memory is used, in one unit: `12.4/80.0 GiB`."""
    return f"{used / GIB:.1f}/{total / GIB:.1f} GiB"


def format_bytes(size: float) -> str:
    """Return a size in binary units: `512 B`, `1.7 GiB`."""
    unit = 0
    while size >= 1024 and unit < len(_BYTE_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_BYTE_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_BYTE_UNITS[unit]}"


def parse_bytes(text: str) -> int:
    """Return the bytes of `24GiB`, `24 GB` or `512M`; K, M and G alone are binary.

    Raises:
        UsageError: it is no size, or has no unit: who writes 24 does not mean bytes.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in _FACTORS:
        raise UsageError("{text} is not a memory size.", "Write it like 24GiB or 512MiB.", text=repr(text))
    return int(float(match[1]) * _FACTORS[match[2]])


def format_count(number: int, noun: str) -> str:
    """Return a number with its English noun: `1 clip`, `1,200 clips`; for the command line and logs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_amount(done: float, total: float | None, unit: str) -> str:
    """Return how much of how much: `12/40 clips`, `1.2 GiB/1.7 GiB`, `3 min 20 s/1 h 04 min`."""
    if unit == "bytes":
        parts = [format_bytes(value) for value in (done, total) if value is not None]
        return "/".join(parts)
    if unit == "s":
        parts = [format_duration(value) for value in (done, total) if value is not None]
        return "/".join(parts)
    parts = [f"{value:,.0f}" for value in (done, total) if value is not None]
    return f"{'/'.join(parts)} {_SINGULAR.get(unit, unit) if parts[-1] == '1' else unit}".rstrip()
