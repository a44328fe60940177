"""A stage for tests of jobs, and the program of a job that runs it: `python job_stage.py JOB_FOLDER LOCK…`.

It takes the place of `synth` in the process that calls `register`. As `fishtune …` command line it is
`python job_stage.py fishtune ARGUMENTS`, with the stage as `fishtune synth`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from fishtune.core.config.strict import Table
from fishtune.core.errors import DataError
from fishtune.core.events import ProgressMeter, Reporter
from fishtune.core.files import sweep_temporary, write_text
from fishtune.core.jobs import start, worker
from fishtune.core.stages.registry import STAGES, Stage, StageName
from pydantic import BaseModel

Way = Literal[
    "work", "talk", "fail", "bug", "no-driver", "no-space", "no-folder", "deaf", "deaf-native", "crash"
]


class CountSettings(Table):
    """Write `items` files into `folder`, one every `pause` seconds, and skip those that are there."""

    folder: Path
    items: int = 20
    pause: float = 0.0
    way: Way = "work"


class CountResult(BaseModel):
    """How many files were written by this run."""

    written: int


def run(settings: CountSettings, reporter: Reporter) -> CountResult:
    """Do as `settings.way` says, after the first file."""
    print("a line that a library printed")
    meter = ProgressMeter(reporter, "counting", settings.items, "clips", frequency=1000)
    written = 0
    sweep_temporary(settings.folder)
    for item in range(settings.items):
        target = settings.folder / f"{item:04}.txt"
        if not target.exists():
            write_text(target, f"{item}\n")
            written += 1
        meter.advance()
        reporter.check_stop(f"{item + 1} files are kept.")
        time.sleep(settings.pause)
        if settings.way == "talk":
            reporter.log("a long line " * 20)
        _misbehave(settings)
    return CountResult(written=written)


def _misbehave(settings: CountSettings) -> None:
    match settings.way:
        case "fail":
            raise DataError("The clip x.wav is silent.", "Record it again.")
        case "bug":
            raise ZeroDivisionError("division by zero")
        case "no-driver":
            raise RuntimeError("Found no NVIDIA driver on your system.")
        case "no-space":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x.npy")
        case "no-folder":
            shutil.rmtree(settings.folder)
            (settings.folder / "next.txt").open("w")
        case "deaf":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            write_text(settings.folder / "child", str(child.pid))
            time.sleep(600)
        case "deaf-native":
            # A call into native code that keeps the interpreter's lock: no Python runs meanwhile.
            write_text(settings.folder / "child", "0")
            ctypes.PyDLL(None).sleep(600)
        case "crash":
            os.kill(os.getpid(), 11)


class _TestStage(Stage):
    def settings_model(self) -> type[Table]:
        return CountSettings

    def run(self, settings: Table, reporter: Reporter) -> BaseModel:
        assert isinstance(settings, CountSettings)
        return run(settings, reporter)


STAGE = StageName.SYNTH
WORKER_COMMAND = [sys.executable, "-P", __file__]


def register() -> None:
    """Make the stage known in this process, also to the jobs that it starts."""
    STAGES[STAGE] = _TestStage(STAGE, "", "", "folder")
    start.WORKER_COMMAND[:] = WORKER_COMMAND


def _command(
    folder: Path,
    items: int = 20,
    pause: float = 0.0,
    way: str = "work",
    json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    from fishtune.core.cli.running import run_stage

    settings = CountSettings.model_validate({"folder": folder, "items": items, "pause": pause, "way": way})
    summary = run_stage(STAGE, settings, json=json)
    if summary is not None and not json:
        print("wrote", summary["written"])


if __name__ == "__main__":
    register()
    if sys.argv[1] == "fishtune":
        from fishtune.core.cli import app

        sys.modules["fishtune.core.cli.count"] = sys.modules[__name__]
        app.STAGES["synth"] = "count._command"
        raise SystemExit(app.run(sys.argv[2:]))
    raise SystemExit(worker.main(sys.argv[1:]))
