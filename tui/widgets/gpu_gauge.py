"""The GPU of a run: how much of its memory is taken, and how busy it was in the last minute."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from ...core.units import format_usage
from ..catalogue import _
from ..glyphs import Glyphs, bar, sparkline

if TYPE_CHECKING:
    from ...core.hardware.readings import GpuReading
    from ...core.hardware.visibility import CudaDevice

_REMEMBERED = 60
"""Readings, one a second."""
_BAR, _SPARK = 8, {1: 5, 2: 20}


class GpuGauge(Static):
    """One or two rows; empty where there is no GPU to be read."""

    DEFAULT_CSS = "GpuGauge { width: 100%; height: auto; max-height: 2; display: none; }"

    def __init__(self, glyphs: Glyphs, *, id: str | None = None) -> None:
        super().__init__("", id=id, markup=False)
        self._glyphs = glyphs
        self._busy: deque[float] = deque(maxlen=_REMEMBERED)
        self._seen: GpuReading | None = None
        self._shown = ""

    def take(self, reading: GpuReading | None, device: str, *, rows: int = 1) -> None:
        """Show a reading of the GPU that the run's settings call `device`, in one or two rows."""
        found = device_of(reading, device)
        use = found.gpu.utilization if found is not None else None
        if reading is not self._seen and use is not None:
            self._busy.append(float(use))
        self._seen = reading
        text = self._text(found, use, rows) if found is not None else Text("")
        if text.plain != self._shown:
            before, self._shown = self._shown, text.plain
            self.display = bool(text)
            self.update(text, layout=other_height(before, text.plain))

    def _text(self, found: CudaDevice, use: int | None, rows: int) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        if found.memory is not None:
            text.append(_("GPU memory") + " ", style="dim")
            text.append(bar(self._glyphs, found.memory.used / max(found.memory.total, 1), _BAR))
            text.append(f" {format_usage(found.memory.used, found.memory.total)}")
        if use is not None:
            text.append(("\n" if rows > 1 else "  ") if text else "")
            text.append(_("GPU use") + " ", style="dim")
            text.append(sparkline(self._glyphs, list(self._busy)[-_SPARK[rows] :], 100.0))
            text.append(f" {use} %")
        return text


def other_height(before: str, now: str) -> bool:
    """Whether a text that is not wrapped takes other rows than before.

    Laying out a screen anew takes longer than drawing it, which happens every second.
    """
    return (bool(before), before.count("\n")) != (bool(now), now.count("\n"))


def device_of(reading: GpuReading | None, name: str) -> CudaDevice | None:
    """Return the GPU that a run's settings mean; None for the CPU, or where nothing can be read."""
    from ...core.errors import FishtuneError
    from ...core.hardware.visibility import cuda_view

    if reading is None or name == "cpu":
        return None
    view = cuda_view(reading)
    try:
        return view.device(name) if view.devices else None
    except FishtuneError:
        return None
