"""Telling processes apart for good, and ending them.

A pid alone says nothing: it is given again after its process ended, after a restart, in another
container and on another machine. A process is therefore known by pid and start time, and both count
only on the same boot of the same machine, in the same namespace of pids.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..data_model import DataModel
from ..reading import unreadable

_PROC = Path("/proc")
_END_GRACE = 1.0
_GONE_SECONDS = 0.3
"""How long killed descendants are waited for: the kernel takes them away when it comes to it."""


class Liveness(StrEnum):
    """What is known about a process."""

    ALIVE = "alive"
    GONE = "gone"
    ELSEWHERE = "elsewhere"
    """It ran on another machine or in another container; from here nobody can tell."""


class ProcessIdentity(DataModel):
    """A process, so that it cannot be taken for another one."""

    pid: Annotated[int, Field(gt=0, lt=1 << 31)]
    """Never 0 or less, which signals would take for whole groups of processes."""
    start: str
    """Opaque; differs between two processes that were given the same pid."""
    host: str
    boot: str = ""
    """The machine's boot; empty where the system has no such number."""
    namespace: str = ""
    """The namespace of pids (containers); empty where the system has none."""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Return the identity of a running process of this machine.

        Raises:
            ProcessLookupError: there is no such process.
        """
        start = _start(pid)
        if start is None:
            raise ProcessLookupError(pid)
        return cls(pid=pid, start=start, host=socket.gethostname(), boot=_boot(), namespace=_namespace())

    def liveness(self) -> Liveness:
        """Return whether the process still runs. A zombie counts as gone: it does nothing any more."""
        if self.host != socket.gethostname():
            return Liveness.ELSEWHERE
        if self.boot != _boot():
            return Liveness.GONE
        if self.namespace != _namespace():
            return Liveness.ELSEWHERE
        return Liveness.ALIVE if _start(self.pid) == self.start else Liveness.GONE

    @property
    def restarted_since(self) -> bool:
        """Whether this machine was restarted after the process began."""
        return self.host == socket.gethostname() and self.boot != _boot()


def _start(pid: int) -> str | None:
    """Return what tells the process apart from others of its pid, or None if it is gone or a zombie."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None if _PROC.joinpath("self").exists() else _portable_start(pid)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):  # psutil would fare no better
            raise unreadable(_PROC / str(pid), error) from error
        return _portable_start(pid)
    # Fields after the command, which stands in brackets and may hold anything: state is the first of them,
    # the number of threads the 18th, the start time in clock ticks since the boot the 20th
    # (proc_pid_stat(5)). A killed process is a zombie while its other threads still end; until they have,
    # its files, and with them its locks, are open.
    fields = stat[stat.rindex(b")") + 2 :].split()
    is_gone = fields[0] == b"X" or (fields[0] == b"Z" and int(fields[17]) <= 1)
    return None if is_gone else fields[19].decode()


def _portable_start(pid: int) -> str | None:
    import psutil  # 0.8 MiB that displays need only on systems without /proc

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink(_PROC / "self/ns/pid")  # noqa: PTH115 - it is no path, only reads like a link
    except OSError:
        return ""


_children: dict[int, subprocess.Popen[bytes]] = {}


def remember_child(process: subprocess.Popen[bytes]) -> None:
    """Keep a child of this process, so that `ended_by` can tell how it ended."""
    _children[process.pid] = process


def ended_by(pid: int) -> signal.Signals | None:
    """Return the signal that ended a child of this process; None if it is not known or not dead."""
    child = _children.get(pid)
    code = child.poll() if child is not None else None
    return signal.Signals(-code) if code is not None and code < 0 else None


def end_children(pid: int) -> None:
    """End all descendants of a process at once (SIGKILL), as far as the system lists them."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        children = psutil.Process(pid).children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=_GONE_SECONDS)


def end_process(identity: ProcessIdentity) -> bool:
    """End a process and its descendants at once (SIGKILL); return whether it was alive.

    Returns once the process is gone.
    """
    if identity.liveness() is not Liveness.ALIVE:
        return False
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(identity.pid)
        family = [*process.children(recursive=True), process]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    deadline = time.monotonic() + _END_GRACE
    while identity.liveness() is Liveness.ALIVE and time.monotonic() < deadline:
        time.sleep(0.01)
    return True


def memory_kills() -> int | None:
    """Return how often the kernel ended a process of this control group for want of memory.

    None where the system does not say (no Linux, or version 1 control groups without the counter).
    """
    try:
        groups = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            candidates = [
                Path("/sys/fs/cgroup" + path) / "memory.events",
                Path("/sys/fs/cgroup/memory.events"),
            ]
        elif controllers == "memory":
            base = Path("/sys/fs/cgroup/memory")
            candidates = [Path(f"{base}{path}") / "memory.oom_control", base / "memory.oom_control"]
        else:
            continue
        for file in candidates:
            with contextlib.suppress(OSError):
                for entry in file.read_text().splitlines():
                    if entry.startswith("oom_kill "):
                        return int(entry.split()[1])
    return None


@lru_cache(maxsize=256)  # a display asks every second, and what ended a process does not change
def kernel_killed_for_memory(pid: int) -> bool:
    """Return whether the kernel's log says that it ended `pid` for want of memory.

    False also where the log may not be read, which is the ordinary case without root.
    """
    try:
        log = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=2, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return any(f"Killed process {pid} " in line for line in log.splitlines())
