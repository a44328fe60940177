"""The memory of this machine, beside that of its GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

CONTAINER_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def main_memory(limit_file: Path = CONTAINER_LIMIT) -> tuple[int, int]:
    """Return the bytes of this machine's memory, all and free; the limit of a container counts."""
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    try:
        limit = int(limit_file.read_text(encoding="ascii"))
        used = int(limit_file.with_name("memory.current").read_text(encoding="ascii"))
        total, free = min(total, limit), min(free, max(limit - used, 0))
    except (OSError, ValueError):
        pass  # no container, or one without a limit ("max")
    return total, free
