"""Parts of a measurement as bad as they come, for `test_benchmark_gpu.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTED = "started.pid"
"""File with the process that `hangs` started."""


def well(_: Any, value: int = 1) -> Iterator[dict[str, Any]]:
    yield {"what": "first", "value": value}
    yield {"what": "second", "passed": True}


def wrong(_: Any) -> Iterator[dict[str, Any]]:
    yield {"what": "sum of 2 and 2", "passed": False}


def raises(_: Any) -> Iterator[dict[str, Any]]:
    yield {"what": "before it failed"}
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")


def dies(_: Any) -> Iterator[dict[str, Any]]:
    yield {"what": "before it died"}
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(bench: Any) -> Iterator[dict[str, Any]]:
    """Start a process and wait for it, for longer than any part has."""
    process = subprocess.Popen(["sleep", "300"])
    Path(bench.work, STARTED).write_text(str(process.pid))
    yield {"what": "before it hung"}
    time.sleep(300)
