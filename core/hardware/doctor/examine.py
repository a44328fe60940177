"""All checks, in their order."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ..nvml import read_gpus
from .check import Check
from .computing import check_agreement, check_gpus, check_torch, probe_torch
from .machine import (
    check_audio,
    check_disk,
    check_memory,
    check_packages,
    check_python,
    check_terminal,
    check_token,
    licence_note,
)


def examine(folder: Path) -> Iterator[Check]:
    """Yield all findings, each as soon as it is there.

    Args:
        folder: where projects and models are to lie.
    """
    yield check_python()
    yield check_packages()
    reading = read_gpus()
    probe = probe_torch()
    yield check_torch(probe)
    yield from check_gpus(reading)
    yield from check_agreement(reading, probe, os.environ)
    yield check_disk(folder)
    yield check_memory()
    yield check_audio()
    yield check_token(os.environ)
    yield licence_note()
    yield check_terminal(os.environ, sys.stdout.isatty(), shutil.get_terminal_size(), sys.stdout.encoding)
