"""Runs the parts of a measurement one after another within a bound of time, each in a process of its own.

A part is a generator of rows. A row is in the report as soon as it is known, so what a part measured before
it failed, crashed or ran out of its time is kept, and the next part begins on a fresh CUDA context.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from .bench import Bench

Row = dict[str, Any]
"""JSON values. `what` says what was measured; `passed`, where it is there, whether it is as it must be."""
State = Literal["waiting", "running", "done", "failed", "out of time", "no time left"]

LEAST_SECONDS = 3.0
"""A part is not begun with less: loading torch's kernels takes that long."""
_GENEROSITY = 2.0
"""How many times its fair share of the time left a part may take: earlier parts are more important."""


@dataclass(frozen=True)
class Part:
    """Something that is measured.

    Args:
        measure: `module:function` of a generator of rows; its process loads it, so that only it loads torch.
        seconds: what it is expected to take; decides its share of the time.
        arguments: of the function, after the bench.
    """

    name: str
    measure: str
    seconds: float
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What became of a part."""

    part: str
    state: State = "waiting"
    seconds: float = 0.0
    error: str = ""
    rows: list[Row] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Whether the part was measured and everything in it is as it must be."""
        return self.state == "done" and all(row.get("passed", True) for row in self.rows)


@dataclass(frozen=True)
class _Ending:
    """What a part's process sends behind its last row."""

    state: State
    error: str = ""


def run_parts(
    parts: Sequence[Part],
    bench: Bench,
    deadline: float,
    log: Path,
    context: BaseContext,
    changed: Callable[[Sequence[Outcome]], None],
) -> list[Outcome]:
    """Run all parts until `deadline` (`time.monotonic`) and return what became of each.

    Args:
        log: gets what the parts' processes print.
        context: how their processes are started.
        changed: called with all outcomes whenever one of them changed.
    """
    outcomes = [Outcome(part.name) for part in parts]
    changed(outcomes)
    for number, (part, outcome) in enumerate(zip(parts, outcomes, strict=True)):
        left = deadline - time.monotonic()
        fair = left * part.seconds / sum(other.seconds for other in parts[number:])
        limit = min(left, _GENEROSITY * fair)
        if limit < LEAST_SECONDS:
            outcome.state = "no time left"
        else:
            outcome.state = "running"
            changed(outcomes)
            _run(part, outcome, bench, limit, deadline, log, context, lambda: changed(outcomes))
        changed(outcomes)
    return outcomes


def start_method(bench: Bench, log: Path, loaded: Sequence[str]) -> BaseContext:
    """Return how processes of parts are started: forked from a server that has loaded the modules `loaded`.

    That spares every part some ten seconds. A library that talks to the driver while it is loaded spoils
    CUDA for forked processes; where that is so, every part loads the libraries itself.
    """
    # torch then asks NVML instead of the driver whether there is a GPU, which spoils nothing.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(loaded))
    if bench.device == "cpu":
        return server
    outcome = Outcome("start")
    touch = Part("start", f"{__name__}:touch_device", 1)
    deadline = time.monotonic() + _START_SECONDS
    _run(touch, outcome, bench, _START_SECONDS, deadline, log, server, lambda: None)
    return server if outcome.state == "done" else multiprocessing.get_context("spawn")


_START_SECONDS = 60.0


def touch_device(bench: Bench) -> Iterator[Row]:
    """Yield a tensor of the device: forked processes can use it."""
    import torch

    yield {"what": str(torch.zeros(1, device=bench.device))}


def _run(
    part: Part,
    outcome: Outcome,
    bench: Bench,
    limit: float,
    deadline: float,
    log: Path,
    context: BaseContext,
    changed: Callable[[], None],
) -> None:
    began = time.monotonic()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_in_process, args=(part, bench, sender, log))  # type: ignore[attr-defined]
    try:
        process.start()
        sender.close()
        # The first one waits until the libraries are loaded, which is not its own time.
        end = min(time.monotonic() + limit, deadline)
        while receiver.poll(max(0.0, end - time.monotonic())):
            message = _received(receiver, process)
            if isinstance(message, _Ending):
                outcome.state, outcome.error = message.state, message.error
                break
            outcome.rows.append(message)
            changed()
        else:
            outcome.state, outcome.error = "out of time", f"ended after {limit:.0f} s, its share of the time"
    finally:
        _end(process)
        receiver.close()
        outcome.seconds = round(time.monotonic() - began, 1)


def _received(receiver: Connection, process: BaseProcess) -> Row | _Ending:
    """Return what a part's process sent, or that it is gone."""
    try:
        message: Row | _Ending = receiver.recv()
    except EOFError:
        process.join()
        return _Ending("failed", f"its process ended without a word, code {process.exitcode}")
    return message


def _end(process: BaseProcess) -> None:
    """End a part's process and everything it started."""
    if process.pid is None:
        return
    process.join(_TIDY_SECONDS if process.exitcode is None else 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(_GONE_SECONDS)


_TIDY_SECONDS = 0.5
_GONE_SECONDS = 10.0  # a driver that frees a card's memory is not waited for any longer


def _in_process(part: Part, bench: Bench, sender: Connection, log: Path) -> None:
    gc.freeze()  # what the server has loaded stays, and no collection need look through it
    os.setpgid(0, 0)  # so that what the part starts can be ended with it
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    print(f"\n== {part.name}", flush=True)
    try:
        for row in pkgutil.resolve_name(part.measure)(bench, **part.arguments):
            sender.send(row)
        sender.send(_Ending("done"))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the other parts go on
        traceback.print_exc()
        sys.stderr.flush()
        words = str(error).strip().splitlines()
        sender.send(_Ending("failed", f"{type(error).__name__}: {words[0] if words else ''}"))
    print(f"== {part.name}: {time.process_time():.1f} CPU seconds", flush=True)
    os._exit(0)  # what libraries tidy up at exit is nothing to wait for
