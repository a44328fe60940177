"""How foreign text and numbers are written on screen.

Everything that comes from files, people or the engine goes through `plain`: as markup, `[laugh]` would
vanish and `[/foo]` would end the program, and an escape character would reach the terminal.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ..core.units import format_bytes, format_duration
from .catalogue import _, sentence

if TYPE_CHECKING:
    from ..core.hardware.readings import GpuReading

LONGEST_LINE = 500
_LONGEST_TIME = 10 * 365 * 86_400.0
"""Seconds; no job takes longer, so what says so is damaged."""


def harmless(value: object, limit: int = LONGEST_LINE) -> str:
    """Return `value` as one line without control or direction-changing characters, at most `limit` long."""
    text = str(value)
    cut = text[: limit + 1]
    cleaned = "".join(
        " "
        if character in "\t\r\n"
        else "�"
        if unicodedata.category(character) in ("Cc", "Cs")
        else character
        for character in cut
        if character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    )
    if len(cut) > limit:
        return cleaned[: limit - 1] + "…"
    return text if cleaned == text else cleaned  # a line of a log is kept once, not twice


def plain(value: object, style: str = "", limit: int = LONGEST_LINE) -> Text:
    """Return `value` as text in which nothing is markup."""
    return Text(harmless(value, limit), style=style, no_wrap=True, overflow="ellipsis")


def right(value: object, style: str = "") -> Text:
    """Return `value` as a right-aligned cell."""
    text = plain(value, style)
    text.justify = "right"
    return text


def fit(value: object, width: int) -> str:
    """Return `value` cut with … to `width` terminal cells (wide characters count two)."""
    text = harmless(value)
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…" if width > 0 else ""


def fit_words(value: object, width: int) -> str:
    """Return a sentence cut with … to `width` terminal cells behind a whole word, if it has one that fits."""
    text = fit(value, width)
    if text == harmless(value):
        return text
    words, space, _cut = text.rpartition(" ")
    return words.rstrip(" .,:;·") + "…" if space else text


def padded(value: object, width: int) -> str:
    """Return `value` in exactly `width` terminal cells, cut with … or filled with spaces."""
    text = fit(value, width)
    return text + " " * (width - cell_len(text))


def fit_path(value: object, width: int) -> str:
    """Return a path cut at its beginning: the end tells paths apart."""
    text = harmless(value)
    if cell_len(text) <= width:
        return text
    dots = "..."[:width]
    while text and cell_len(text) > width - len(dots):
        text = text[1:]
    return dots + text  # the sign … would become a mere full stop in a terminal of ASCII


def duration(seconds: float | None) -> str:
    """Return a duration in the active language; a dash for none, and for what no job can take."""
    if seconds is None or not abs(seconds) < _LONGEST_TIME:
        return "–"
    return sentence(format_duration(seconds))


def size(number: float | None) -> str:
    """Return bytes with their binary unit: `512 B`, `14.2 MiB`, `80.0 GiB`; a dash for None."""
    return "–" if number is None or not math.isfinite(number) else format_bytes(number)


def count(number: float | None) -> str:
    """Return a whole number with thousands apart: `12,400`."""
    return "–" if number is None or not math.isfinite(number) else f"{number:,.0f}"


def parameters(number: int) -> str:
    """Return a number of parameters: `940 K`, `5.6 M`, `0.86 G`."""
    if number < 1_000_000:
        return f"{number / 1e3:.0f} K"
    return f"{number / 1e6:.1f} M" if number < 1_000_000_000 else f"{number / 1e9:.2f} G"


def percent(share: float | None) -> str:
    """Return a share of one as `62 %`."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.0f} %"


def decimal(number: float | None, places: int = 3) -> str:
    """Return a number with fixed places, a dash where there is none."""
    return "–" if number is None else f"{number:.{places}f}"


def clock(seconds: float) -> str:
    """Return a Unix time as the user's local date and time; a dash where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "–"


def age(used: float, now: float) -> str:
    """Return how long ago something was, both in Unix time; a date where it is longer than a month."""
    seconds = max(now - used, 0.0)
    if seconds < 60:
        return _("just now")
    if seconds < 3600:
        return _("{number} min ago").format(number=int(seconds // 60))
    if seconds < 48 * 3600:
        return _("{number} h ago").format(number=int(seconds // 3600))
    if seconds < 31 * 86_400:
        return _("{number} days ago").format(number=int(seconds // 86_400))
    return clock(used).split(" ")[0]


def driver_sentence(reading: GpuReading) -> str:
    """Return what is known about the driver, one sentence."""
    from ..core.hardware.readings import DriverState

    if reading.state is not DriverState.READY:
        return harmless(sentence(reading.message))
    cuda = ".".join(map(str, reading.cuda_version)) if reading.cuda_version else "–"
    return _("NVIDIA driver {driver}, supports CUDA up to {cuda}.").format(
        driver=harmless(reading.driver_version), cuda=cuda
    )
