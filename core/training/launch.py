"""Processes of a distributed run: who starts them, and how each finds the others.

With torchrun every process exists already. Otherwise the first process of a machine starts the others
itself as `python -P -m fishtune.core.training`, handing them the settings on standard input; whatever
command, job or chain it runs in is not run twice. The collectives are Lightning's and torch's.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from ..errors import FishtuneError, StopRequested, TrainingError, UsageError
from ..events import Reporter
from ..settings import TrainSettings

_MODULE = "fishtune.core.training"
_READY = "FISHTUNE_RANK_READY"  # names the file by which a started process says that it is ready
_PATIENCE = 60.0  # seconds that the others have to end after the first is done


@dataclass(frozen=True)
class World:
    """The processes of a run, seen from this one."""

    devices: int
    """Processes on this machine, one a device."""
    num_nodes: int
    local_rank: int
    node_rank: int
    environment: ClusterEnvironment | None
    """None where the run has one process."""
    starts_others: bool

    @property
    def size(self) -> int:
        """Number of all processes."""
        return self.devices * self.num_nodes

    @property
    def rank(self) -> int:
        """Number of this process among all."""
        return self.node_rank * self.devices + self.local_rank


class _KnownPort(LightningEnvironment):
    """Lightning's environment, with processes started by `others` and a port that they all know."""

    def __init__(self, local_rank: int, node_rank: int, port: int) -> None:
        super().__init__()
        self._ranks = local_rank, node_rank
        self._port = port

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_port(self) -> int:
        return self._port

    def local_rank(self) -> int:
        return self._ranks[0]

    def node_rank(self) -> int:
        return self._ranks[1]


def find_world(settings: TrainSettings) -> World:
    """Return the processes of this run, from torchrun's environment or from the settings.

    Raises:
        UsageError: settings and torchrun contradict each other, or several machines have no meeting point.
    """
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
        for flag, wanted, started in (
            ("--devices", settings.devices, devices),
            ("--num-nodes", settings.num_nodes, nodes),
        ):
            if wanted not in (1, started):
                raise UsageError(
                    f"{flag} is {wanted}, but torchrun started {started}.",
                    f"Leave out {flag} under torchrun.",
                )
        elastic = TorchElasticEnvironment()
        environment = elastic if devices * nodes > 1 else None
        return World(devices, nodes, elastic.local_rank(), elastic.node_rank(), environment, False)
    if settings.devices * settings.num_nodes == 1:
        return World(1, 1, 0, 0, None, False)
    if settings.num_nodes > 1 and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= os.environ.keys():
        raise UsageError(
            "Several machines must know where to meet: MASTER_ADDR, MASTER_PORT, NODE_RANK are not set.",
            "Set them on every machine (NODE_RANK counts from 0), or start training with torchrun.",
        )
    started = "LOCAL_RANK" in os.environ
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    node_rank = int(os.environ.get("NODE_RANK", "0"))
    port = int(os.environ["MASTER_PORT"]) if "MASTER_PORT" in os.environ else _free_port()
    return World(
        settings.devices,
        settings.num_nodes,
        local_rank,
        node_rank,
        _KnownPort(local_rank, node_rank, port),
        starts_others=not started and settings.devices > 1,
    )


def _free_port() -> int:
    # Below the range that systems give to outgoing connections, one of which might take it meanwhile.
    ports = random.sample(range(15_000, 30_000), 50)
    for port in ports:
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise TrainingError(
        "No port is free for the processes of the run to meet.", "Name one in the variable MASTER_PORT."
    )


@contextlib.contextmanager
def others(world: World, settings: TrainSettings, reporter: Reporter) -> Iterator[None]:
    """Start the other processes of this machine, if that is this one's task, and end them in the end.

    The block is entered once all of them are ready to train, so that one that cannot even load its part
    is noticed instead of waited for.

    Raises:
        TrainingError: one of them failed.
        StopRequested: asked to stop before all were ready.
    """
    if _READY in os.environ:
        Path(os.environ[_READY]).touch()
    if not world.starts_others or world.environment is None:
        yield
        return
    meeting = {name: os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")}  # Lightning sets them
    processes: list[subprocess.Popen[str]] = []
    try:
        with tempfile.TemporaryDirectory(prefix="fishtune-") as folder:
            processes += (
                _start(world.environment, world.node_rank, local_rank, Path(folder), settings)
                for local_rank in range(1, world.devices)
            )
            _wait_until_ready(processes, Path(folder), reporter)
        threading.Thread(target=_watch, args=(processes, reporter), name="ranks", daemon=True).start()
        yield
        for process in processes:
            process.wait(_PATIENCE)
    except (FishtuneError, StopRequested):
        raise
    except Exception as error:
        # A process that ended first is the cause; this one only saw its connection break.
        for number, process in enumerate(processes, start=1):
            if process.poll():
                raise _failure(number, process) from error
        raise
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        _leave_group(meeting)


def _leave_group(meeting: dict[str, str | None]) -> None:
    """Let go of the port and of the variables, so that this process can run another stage."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name, value in meeting.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _start(
    environment: ClusterEnvironment, node_rank: int, local_rank: int, folder: Path, settings: TrainSettings
) -> subprocess.Popen[str]:
    variables = os.environ | {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(node_rank),
        "LOCAL_RANK": str(local_rank),
        _READY: str(folder / str(local_rank)),
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", _MODULE], stdin=subprocess.PIPE, env=variables, text=True
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended already, which is noticed next
        process.stdin.write(settings.model_dump_json())
        process.stdin.close()
    return process


def _wait_until_ready(processes: list[subprocess.Popen[str]], folder: Path, reporter: Reporter) -> None:
    waiting = dict(enumerate(processes, start=1))
    while waiting:
        reporter.check_stop("Nothing new was trained.")
        for number, process in list(waiting.items()):
            if (folder / str(number)).exists():
                del waiting[number]
            elif process.poll() is not None:
                raise _failure(number, process)
        time.sleep(0.1)


def _watch(processes: list[subprocess.Popen[str]], reporter: Reporter) -> None:
    """Say at once that a process failed: the others may wait for it for minutes."""
    while any(process.poll() is None for process in processes):
        for number, process in enumerate(processes, start=1):
            if process.returncode:
                reporter.warn(_failure(number, process).message)
                return
        time.sleep(0.5)


def _failure(number: int, process: subprocess.Popen[str]) -> TrainingError:
    return TrainingError(
        f"The training process of device {number} ended with code {process.returncode}.",
        "The job's log has its last words. What was saved is kept; starting again goes on from there.",
    )


def follow_first_rank() -> None:
    """Make this process end with the one that started it, and leave signals to that one."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
