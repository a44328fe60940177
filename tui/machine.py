"""What this machine has, in lines of text: GPUs, memory, disk, models."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.units import format_usage
from .catalogue import _
from .glyphs import LINES, Glyphs, gauge
from .wording import driver_sentence, harmless, size

if TYPE_CHECKING:
    from ..core.hardware.readings import Gpu, GpuReading
    from .models_found import FoundModel

_GAUGE_CELLS = 10


def machine_lines(
    reading: GpuReading | None, models: Sequence[FoundModel], most_gpus: int, glyphs: Glyphs = LINES
) -> list[str]:
    """Return lines on the driver, up to `most_gpus` GPUs, free memory, disk and the base models here."""
    from ..core.hardware.main_memory import main_memory

    lines = []
    if reading is not None:
        lines.append(driver_sentence(reading))
        lines += [_gpu(gpu, glyphs) for gpu in reading.gpus[:most_gpus]]
        if len(reading.gpus) > most_gpus:
            lines.append(_("{number} more").format(number=len(reading.gpus) - most_gpus))
    total, free = main_memory()
    lines.append(_("Memory: {free} free of {total}").format(free=size(free), total=size(total)))
    here = Path.cwd()
    disk = shutil.disk_usage(here)
    lines.append(
        _("Disk of {folder}: {free} free of {total}").format(
            folder=harmless(here), free=size(disk.free), total=size(disk.total)
        )
    )
    names = dict.fromkeys(harmless(model.path.name) for model in models if model.is_base)
    lines.append(_("Base models found: {names}").format(names=", ".join(names) or "–"))
    return lines


def _gpu(gpu: Gpu, glyphs: Glyphs) -> str:
    memory = gpu.memory
    line = _("GPU{index} {name}: {memory} used, {free} free").format(
        index=gpu.index,
        name=harmless(gpu.name),
        memory=format_usage(memory.used, memory.total) if memory else "–",
        free=size(memory.free) if memory else "–",
    )
    return f"{line}  {gauge(glyphs, memory.used / max(memory.total, 1), _GAUGE_CELLS)}" if memory else line
