"""A GPU's memory as a bar: what other programs hold, what a training will need, what stays free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ..catalogue import _
from ..glyphs import Glyphs
from ..wording import fit, harmless, size

if TYPE_CHECKING:
    from ...core.hardware.memory.suggest import Available

_BAR = 24


def memory_bar(glyphs: Glyphs, needed: int, available: Available | None, width: int) -> Text:
    """Return one or two lines: the bar with its numbers, and who holds what is not free.

    Args:
        needed: predicted bytes.
        available: None where no GPU is used, and nothing bounds the need.
    """
    text = Text(no_wrap=True, overflow="ellipsis")
    if available is None:
        return text.append(_("On a GPU it would need {needed} of memory.").format(needed=size(needed)))
    total = max(available.total, 1)
    held = min(max(total - available.free, 0), total)
    fits = needed <= available.usable
    cells = min(_BAR, max(width - 32, 8))
    of_others = round(held / total * cells)
    of_this = min(round(needed / total * cells), cells - of_others)
    text.append(glyphs.held * of_others, style="yellow")
    text.append(glyphs.bar * max(of_this, 0), style="" if fits else "red")
    text.append(glyphs.rest * (cells - of_others - max(of_this, 0)))
    sentence = _("needs {needed} of {free} free") if fits else _("needs {needed}, only {free} free")
    text.append(" " + sentence.format(needed=size(needed), free=size(available.free)))
    if held:
        text.append("\n" + fit(_others(glyphs, held, available), width), style="dim")
    return text


def _others(glyphs: Glyphs, held: int, available: Available) -> str:
    """Return who holds the memory that is not free, the largest first."""
    known = sorted(available.processes, key=lambda process: -(process.memory or 0))
    names = [
        f"{harmless(process.name or _('a process'), 30)} {process.pid}"
        + (f" {size(process.memory)}" if process.memory is not None else "")
        for process in known
    ]
    taken = _("{sign} {held} held").format(sign=glyphs.held, held=size(held))
    return f"{taken}: {', '.join(names)}" if names else taken
