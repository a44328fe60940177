"""What tests of jobs share: the test's stage, waiting for jobs, commands on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from fishtune.core.jobs import start
from fishtune.core.jobs.record import Job, JobState
from fishtune.core.stages.registry import STAGES

from . import job_stage
from .job_stage import STAGE, CountSettings, Way

COMMAND = [sys.executable, "-P", str(Path(job_stage.__file__)), "fishtune"]
SECONDS = 60.0
"""After which a test gives up waiting; nothing is expected to take this long."""


def register_for_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test's stage known until the test ends."""
    monkeypatch.setitem(STAGES, STAGE, STAGES[STAGE])
    monkeypatch.setattr(start, "WORKER_COMMAND", list(start.WORKER_COMMAND))
    job_stage.register()


def count_settings(tmp_path: Path, items: int = 20, pause: float = 0.0, way: Way = "work") -> CountSettings:
    """Return settings of the test's stage, which writes to `out`."""
    return CountSettings(folder=tmp_path / "out", items=items, pause=pause, way=way)


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition; `what` names it where it does not come."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS} s for {what}"
        time.sleep(0.01)


def end_of(job: Job) -> JobState:
    """Wait for a job to end and return how it did."""
    wait_until(lambda: job.refresh().state().is_over, f"{job.id} to end")
    return job.refresh().state()


def written_in(tmp_path: Path) -> list[str]:
    """Return the names of the files that the test's stage has written."""
    return sorted(path.name for path in (tmp_path / "out").glob("[0-9]*.txt"))


def run_on_a_terminal(
    command: list[str], folder: Path, stay: bool = False
) -> tuple[subprocess.Popen[bytes], int]:
    """Run a command with a pseudo-terminal as its controlling one; `stay`: under a shell that remains."""
    (folder / "fishtune.toml").write_text('name = "yoona"\n', encoding="utf-8")
    if stay:
        command = ["sh", "-c", '"$@"; sleep 600', "sh", *command]
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=take_terminal,
        cwd=folder,
    )
    os.close(slave)
    os.set_blocking(master, False)
    return process, master


def shown_on(terminal: int) -> bytes:
    """Return what has come to a pseudo-terminal since the last call."""
    try:
        return os.read(terminal, 1 << 16)
    except BlockingIOError:
        return b""


def jobs_of_command(folder: Path) -> list[dict[str, Any]]:
    """Return what `fishtune jobs --json` says in a folder."""
    listed = subprocess.run([*COMMAND, "jobs", "--json"], cwd=folder, capture_output=True, check=True)
    found: list[dict[str, Any]] = json.loads(listed.stdout)
    return found


def is_running(pid: int) -> bool:
    """Return whether a process lives."""
    try:
        return pid != 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
