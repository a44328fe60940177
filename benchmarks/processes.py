"""What a process takes, start included.

The kernel counts memory from before a program is loaded: measure from a process that is small itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process took, start included."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, with those of its workers."""
    memory: float
    """MiB at most, of the largest of its processes."""


def took(
    folder: Path, *arguments: str | Path, passes: tuple[int, ...] = (0,), threads: int | None = 1
) -> Taken:
    """Run Python with `arguments` in `folder`, where its state and cache lie too; return what it took.

    Args:
        passes: exit codes of a run that did its work.
        threads: that torch computes with; None = its own choice.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ} | {
        f"XDG_{kind.upper()}_HOME": str(folder / kind) for kind in ("state", "cache")
    }
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with (folder / "output.txt").open("w+b") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=output, stderr=output, env=environment, cwd=folder
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        if os.waitstatus_to_exitcode(status) not in passes:
            output.seek(0)
            raise RuntimeError(output.read().decode())
    return Taken(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
