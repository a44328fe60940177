"""Accounting in a process of its own: it needs torch, and torch as a GPU would have it.

Set-ups go in as JSON, a line per event comes back. The program lies with the stages, whose steps it runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from ...errors import FishtuneError
from .profile import Profile
from .setups import Setup

PROGRAM: Final = "fishtune.core.stages.accounting"
SETUPS: Final[TypeAdapter[list[Setup]]] = TypeAdapter(list[Setup])
Progress = Callable[[int, int], object]
"""Takes how many batches are accounted, and how many are to be."""


class Line(BaseModel):
    """What the process says."""

    done: int = 0
    total: int = 0
    profile: Profile | None = None
    """Of the next set-up."""
    message: str = ""
    """Why the next set-up cannot be accounted."""
    hint: str = ""


def account(setups: Sequence[Setup], progress: Progress) -> Iterator[tuple[Setup, Profile]]:
    """Yield the profiles of set-ups, each once it is made.

    Raises:
        FishtuneError: a set-up cannot be accounted, or the process failed.
    """
    waiting = list(setups)
    if not waiting:
        return
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            # It holds no GPU, and leaves the cores to others.
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            with process.stdin as questions:
                questions.write(SETUPS.dump_json(waiting))
            for text in process.stdout:
                line = _parsed(text)
                if line.message:
                    raise FishtuneError(line.message, line.hint)
                if line.profile is not None:
                    yield waiting.pop(0), line.profile
                    if not waiting:
                        return  # it takes its time to end
                elif line.total:
                    progress(line.done, line.total)
            raise _failed(process.wait(), complaints)
        except BrokenPipeError:
            raise _failed(process.wait(), complaints) from None
        finally:
            process.stdout.close()
            process.kill()
            process.wait()


def _parsed(text: bytes) -> Line:
    try:
        return Line.model_validate_json(text)
    except ValidationError:
        return Line()  # something that a library printed


def _failed(code: int, complaints: IO[bytes]) -> FishtuneError:
    complaints.seek(0)
    last = complaints.read()[-10_000:].decode(errors="replace").strip().rpartition("\n")[2]
    return FishtuneError(
        "The memory that this model needs could not be measured: the process ended with {code} "
        "and said {words}.",
        "Everything else works without it; fishtune doctor checks the installation.",
        code=code,
        words=repr(last or "nothing"),
    )


def say(**content: Any) -> None:
    """Write a line, in the process."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()
