"""Processes of a distributed run: who starts them, and how each finds the others.

With torchrun every process exists already. Otherwise the first process of a machine starts the others
itself as `python -P -m fishtune.core.stages.train`, handing them the settings on standard input; whatever
command, job or chain it runs in is not run twice. They meet on the loopback interface, where nobody else
can listen in or join. The collectives are Lightning's and torch's.
"""

from __future__ import annotations

import contextlib
import os
import re
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

import psutil
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from ...config.settings import TrainSettings
from ...errors import FishtuneError, TrainingError, UsageError
from ...events import Reporter
from ...messages import Message
from .rank_errors import READY, find_error

_MODULE = "fishtune.core.stages.train"
_PATIENCE = 60.0  # seconds that the others have to end after the first is done
_LAST_WORDS = 10.0  # seconds that a process whose connection broke has to say why
_LOOPBACK = "127.0.0.1"
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")  # where the two libraries listen


class ConnectionBrokenError(TrainingError):
    """Another process of the run is gone; the cause lies there."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, seen from this one."""

    devices: int
    """Processes on this machine, one a device."""
    num_nodes: int
    local_rank: int
    node_rank: int
    environment: ClusterEnvironment | None
    """None where the run has one process."""
    starts_others: bool
    listener: socket.socket | None = None
    """Where the first process of a single machine waits for the others."""

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


def find_ranks(settings: TrainSettings) -> Ranks:
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
                    "{flag} is {wanted}, but torchrun started {started}.",
                    "Leave out {flag} under torchrun.",
                    flag=flag,
                    wanted=wanted,
                    started=started,
                )
        elastic = TorchElasticEnvironment()
        environment = elastic if devices * nodes > 1 else None
        return Ranks(devices, nodes, elastic.local_rank(), elastic.node_rank(), environment, False)
    if settings.devices * settings.num_nodes == 1:
        return Ranks(1, 1, 0, 0, None, False)
    if settings.num_nodes > 1 and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= os.environ.keys():
        raise UsageError(
            "Several machines must know where to meet: MASTER_ADDR, MASTER_PORT, NODE_RANK are not set.",
            "Set them on every machine (NODE_RANK counts from 0), or start training with torchrun.",
        )
    started = "LOCAL_RANK" in os.environ
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    node_rank = int(os.environ.get("NODE_RANK", "0"))
    listener = None
    if settings.num_nodes == 1 and not started:
        listener = _listen(os.environ.get("MASTER_PORT"))
        port = listener.getsockname()[1]
    else:
        port = int(os.environ["MASTER_PORT"])
    return Ranks(
        settings.devices,
        settings.num_nodes,
        local_rank,
        node_rank,
        _KnownPort(local_rank, node_rank, port),
        starts_others=not started and settings.devices > 1,
        listener=listener,
    )


def _listen(wanted: str | None) -> socket.socket:
    """Return a socket that listens on the loopback interface, on the wanted port or on a free one."""
    listener = socket.socket()
    try:
        listener.bind((_LOOPBACK, int(wanted or "0")))
        listener.listen()
    except (OSError, ValueError, OverflowError) as error:
        listener.close()
        raise TrainingError(
            "The processes of the run cannot meet at {address}, port {port}: {reason}.",
            "Name a free port in the variable MASTER_PORT, or unset it.",
            address=_LOOPBACK,
            port=wanted or 0,
            reason=error,
        ) from error
    return listener


def enter_group(ranks: Ranks, backend: str) -> None:
    """Let the processes of a single machine meet; Lightning takes the group as it is.

    Torch's own way would listen on all addresses of the machine. Where torchrun started the processes, or
    there are several machines, Lightning lets them meet as these say.
    """
    if ranks.num_nodes > 1 or not isinstance(ranks.environment, _KnownPort):
        return
    loopback = next(
        (
            name
            for name, addresses in psutil.net_if_addrs().items()
            if any(address.address == _LOOPBACK for address in addresses)
        ),
        None,
    )
    if loopback is not None:
        for variable in _INTERFACES:
            os.environ.setdefault(variable, loopback)
    store = torch.distributed.TCPStore(  # type: ignore[attr-defined]  # documented, only not listed
        _LOOPBACK,
        ranks.environment.main_port,
        ranks.size,
        is_master=ranks.rank == 0,
        master_listen_fd=ranks.listener.detach() if ranks.listener is not None else None,
    )
    torch.distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size)


@contextlib.contextmanager
def other_ranks(ranks: Ranks, settings: TrainSettings, reporter: Reporter) -> Iterator[None]:
    """Start the other processes of this machine, if that is this one's task, and end them in the end.

    The block is entered once all of them are ready to train, so that one that cannot even load its part
    is noticed instead of waited for.

    Raises:
        TrainingError: one of them failed.
        StopRequested: asked to stop before all were ready.
    """
    if READY in os.environ:
        Path(os.environ[READY]).touch()
    if not ranks.starts_others or ranks.environment is None:
        with _broken_connections():
            yield
        return
    meeting = {name: os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT", *_INTERFACES)}
    started: list[_Rank] = []
    with tempfile.TemporaryDirectory(prefix="fishtune-") as folder:
        try:
            started += (
                _start(ranks, ranks.environment, local_rank, Path(folder), settings)
                for local_rank in range(1, ranks.devices)
            )
            _wait_until_ready(started, reporter)
            threading.Thread(target=_watch, args=(started, reporter), name="ranks", daemon=True).start()
            with _broken_connections():
                yield
            for rank in started:
                with contextlib.suppress(subprocess.TimeoutExpired):  # everything is saved: it is ended
                    rank.process.wait(_PATIENCE)
        except ConnectionBrokenError as error:
            # A process that ended first is the cause; this one only saw its connection break.
            cause = _cause(started, _LAST_WORDS)
            if cause is None:
                raise
            raise cause from error
        finally:
            for rank in started:
                if rank.process.poll() is None:
                    rank.process.kill()
                rank.process.wait()
            _leave_group(meeting)


@contextlib.contextmanager
def _broken_connections() -> Iterator[None]:
    """Turn what the collectives raise when another process is gone into `ConnectionBrokenError`."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and not _BROKEN.search(str(error)):
            raise
        raise ConnectionBrokenError(
            "The connection to another process of the run broke: {reason}",
            "The cause is in the output of the process that ended first. What was saved is kept; starting "
            "again continues from there.",
            reason=str(error).strip().splitlines()[0],
        ) from error


_BROKEN = re.compile(
    r"gloo|ncclUnhandledError|ncclRemoteError|NCCL error|connection (closed|reset|refused)|broken pipe", re.I
)


@dataclass(frozen=True)
class _Rank:
    """A process that this one started."""

    number: int
    process: subprocess.Popen[str]
    ready: Path
    """The file by which it says that it is ready."""

    def failure(self) -> BaseException | None:
        """Return why the process failed; None while it runs or if it ended well."""
        code = self.process.poll()
        error = find_error(self.ready)
        if isinstance(error, FishtuneError):
            return type(error)(
                Message(
                    "The training process of device {number} failed: {reason}",
                    number=self.number,
                    reason=error.message,
                ),
                error.hint,
            )
        if error is not None:
            error.add_note(
                Message("It was raised in the training process of device {number}.", number=self.number)
            )
            return error
        if not code:
            return None
        if code < 0:
            return TrainingError(
                "The training process of device {number} was ended by {signal}.",
                "If nobody did so, the machine was short of memory: choose a smaller --num-workers, or end "
                "other programs. What was saved is kept; starting again continues from there.",
                number=self.number,
                signal=signal.Signals(-code).name,
            )
        return TrainingError(
            "The training process of device {number} ended with code {code}.",
            "The job's log has its last words. What was saved is kept; starting again continues from there.",
            number=self.number,
            code=code,
        )


def _cause(ranks: list[_Rank], patience: float = 0.0) -> BaseException | None:
    """Return the failure that others followed from, once one is known; None if none is after `patience`."""
    deadline = time.monotonic() + patience
    while True:
        failures = [failure for rank in ranks if (failure := rank.failure()) is not None]
        for failure in failures:
            if not isinstance(failure, ConnectionBrokenError):
                return failure
        if time.monotonic() >= deadline:
            return failures[0] if failures else None
        time.sleep(0.1)


def _leave_group(meeting: dict[str, str | None]) -> None:
    """Let go of the port and of the variables, so that this process can run another stage."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name, value in meeting.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _start(
    ranks: Ranks, environment: ClusterEnvironment, local_rank: int, folder: Path, settings: TrainSettings
) -> _Rank:
    ready = folder / str(local_rank)
    variables = os.environ | {
        "MASTER_ADDR": _LOOPBACK if ranks.num_nodes == 1 else environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(ranks.node_rank),
        "LOCAL_RANK": str(local_rank),
        READY: str(ready),
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", _MODULE], stdin=subprocess.PIPE, env=variables, text=True
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended already, which is noticed next
        process.stdin.write(settings.model_dump_json())
        process.stdin.close()
    return _Rank(local_rank, process, ready)


def _wait_until_ready(ranks: list[_Rank], reporter: Reporter) -> None:
    waiting = list(ranks)
    while waiting:
        reporter.check_stop("Nothing new was trained.")
        for rank in list(waiting):
            failure = rank.failure()
            if failure is not None:
                raise failure
            if rank.ready.exists():
                waiting.remove(rank)
        time.sleep(0.1)


def _watch(ranks: list[_Rank], reporter: Reporter) -> None:
    """Say at once that a process failed: the others may wait for it for minutes."""
    while any(rank.process.poll() is None for rank in ranks):
        for rank in ranks:
            failure = rank.failure()
            if failure is not None:
                text = failure.message if isinstance(failure, FishtuneError) else str(failure)
                reporter.warn(text, failure.hint if isinstance(failure, FishtuneError) else "")
                return
        time.sleep(0.5)


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
