"""Names of the processes that NVML reports by number."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_OUR_PROGRAMS = frozenset({"fishtune", "fishtune-tui"})


class ProcessNames:
    """Looks a process up once and remembers it while it keeps being asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, bool]] = {}
        self._asked: set[int] = set()

    def name(self, pid: int) -> str:
        """Return program and script or module, such as `python train.py`; empty when `pid` is not visible."""
        return self._look_up(pid)[0]

    def is_ours(self, pid: int) -> bool:
        """Return whether `pid` is this process, a fishtune command or job, or a descendant of one."""
        return self._look_up(pid)[1]

    def forget_ended(self) -> None:
        """Forget everything that was not asked for since the last call: numbers are used again."""
        self._known = {pid: known for pid, known in self._known.items() if pid in self._asked}
        self._asked.clear()

    def _look_up(self, pid: int) -> tuple[str, bool]:
        self._asked.add(pid)
        if pid not in self._known:
            self._known[pid] = _describe(pid)
        return self._known[pid]


def _describe(pid: int) -> tuple[str, bool]:
    import psutil  # 0.8 MiB, for nothing where no process uses a GPU

    try:
        process = psutil.Process(pid)
        command = process.cmdline()
        name = short_command(command) or process.name()
        lineage = [process, *process.parents()]
    except psutil.Error:
        return "", pid == os.getpid()
    return name, any(ancestor.pid == os.getpid() or _is_fishtune(ancestor) for ancestor in lineage)


def _is_fishtune(process: psutil.Process) -> bool:
    import psutil

    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return module.split(".")[0] == "fishtune" or any(
        PurePath(word).name in _OUR_PROGRAMS for word in words[:2]
    )


def short_command(command: list[str]) -> str:
    """Return the telling part of a command line, without its arguments (they may hold secrets).

    `["/usr/bin/python3", "-P", "-m", "fishtune.core.jobs", "--token", "x"]` gives
    `python3 -m fishtune.core.jobs`; `["python", "train.py", "--lr", "1"]` gives `python train.py`.
    """
    if not command:
        return ""
    program = PurePath(command[0]).name
    if not program.startswith("python"):
        return program
    for position, word in enumerate(command[1:], 1):
        if word == "-m":
            return " ".join([program, *command[position : position + 2]])
        if word == "-c":
            break
        if not word.startswith("-"):
            return f"{program} {PurePath(word).name}"
    return program
