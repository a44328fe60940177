"""Numbers as people read them."""

from __future__ import annotations

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_duration(seconds: float) -> str:
    """Return a duration: `8 s`, `4 min 20 s`, `1 h 04 min`, `3 d 02 h`."""
    whole = max(round(seconds), 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    if minutes:
        return f"{minutes} min {rest:02} s"
    return f"{rest} s"


def format_bytes(size: float) -> str:
    """Return a size in binary units: `512 B`, `1.7 GiB`."""
    unit = 0
    while size >= 1024 and unit < len(_BYTE_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_BYTE_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_BYTE_UNITS[unit]}"


def format_amount(done: float, total: float | None, unit: str) -> str:
    """Return how much of how much: `12/40 clips`, `1.2 GiB/1.7 GiB`, `3 min 20 s/1 h 04 min`."""
    if unit == "bytes":
        parts = [format_bytes(value) for value in (done, total) if value is not None]
        return "/".join(parts)
    if unit == "s":
        parts = [format_duration(value) for value in (done, total) if value is not None]
        return "/".join(parts)
    parts = [f"{value:,.0f}" for value in (done, total) if value is not None]
    return f"{'/'.join(parts)} {unit}".rstrip()
