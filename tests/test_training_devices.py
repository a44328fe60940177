"""Several processes, through the real command: same coverage and curve as one with accumulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import torch
from fishtune.core.config.run_files import checkpoint_path
from fishtune.core.config.settings import TrainSettings
from fishtune.core.errors import DeviceMemoryError, ShardError, TrainingError, UsageError
from fishtune.core.events import Step, Validation
from fishtune.core.jobs.follow import last_events
from fishtune.core.stages.train.checkpoints import read_run_state
from fishtune.core.stages.train.launch import Ranks, find_ranks, other_ranks
from fishtune.core.stages.train.run import run
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from .recorder import Recorder
from .training_kit import (
    shards,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
    write_plain_preset,
)

STEPS = 6
EPOCHS: dict[str, Any] = {"max_steps": None, "epochs": 2.5}
"""The last step has a micro-batch for one of two processes only, or for both."""


def losses(events: list[Any]) -> list[tuple[float, ...]]:
    return [
        (event.step, event.base_loss, event.semantic_loss, event.clip_passes)
        for event in events
        if isinstance(event, Step | Validation)
    ]


class Shared(NamedTuple):
    """What a run in two processes left and showed."""

    losses: list[tuple[float, ...]]
    coverage: list[int]
    listening: dict[int, set[str]]
    """Addresses on which each process listened while it trained, by its number."""
    address: str
    """`MASTER_ADDR` after the run."""


@pytest.fixture(scope="module")
def two_processes(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Shared:
    before = {(each.laddr.ip, each.laddr.port) for each in psutil.Process().net_connections("inet")}
    listening: dict[int, set[str]] = {}

    def look(event: Any) -> None:
        if isinstance(event, Step) and event.step == 2:
            this = psutil.Process()
            for process in (this, *this.children(recursive=True)):
                listening[process.pid] = {
                    each.laddr.ip
                    for each in process.net_connections("inet")
                    if each.status == psutil.CONN_LISTEN and (each.laddr.ip, each.laddr.port) not in before
                }

    recorder = Recorder(look)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASTER_ADDR", "0.0.0.0")  # of somebody else's cluster
        folder = tmp_path_factory.mktemp("two")
        result = run(train_settings(folder, small_base, shards, **EPOCHS, devices=2), recorder)
        address = os.environ["MASTER_ADDR"]
    coverage = read_run_state(result.checkpoint).coverage.tolist()
    return Shared(losses(recorder.events), coverage, listening, address)


def test_two_processes_compute_what_one_does_with_accumulation_2(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    two_processes: Shared,
) -> None:
    recorder = Recorder()
    result = run(train_settings(tmp_path, small_base, shards, **EPOCHS, accumulation=2), recorder)
    one, coverage = losses(recorder.events), read_run_state(result.checkpoint).coverage.tolist()
    assert len(one) == len(two_processes.losses) > 3
    for alone, shared in zip(one, two_processes.losses, strict=True):
        assert shared == pytest.approx(alone, abs=1e-4)
    assert coverage == two_processes.coverage
    assert set(coverage) == {2, 3}


def test_processes_of_one_machine_listen_on_the_loopback_interface_only(two_processes: Shared) -> None:
    found = two_processes.listening
    assert len(found) >= 2 and found[os.getpid()]
    assert set().union(*found.values()) <= {"127.0.0.1", "::1"}
    assert two_processes.address == "0.0.0.0"
    assert "GLOO_SOCKET_IFNAME" not in os.environ


@pytest.mark.slow
def test_torchrun_and_the_devices_flag_train_alike(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    preset = write_plain_preset()
    arguments = ["train", "--base", str(small_base), "--protos", str(shards), "--max-steps", str(STEPS)]
    arguments += ["--batch-tokens", "128", "--no-gate", "--device", "cpu", "--lora-config", preset]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "fishtune.core.cli", *arguments]
    flags = [*command, "--project", "flag", "--devices", "2"]
    torchrun = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    torchrun += ["-m", "fishtune.core.cli", *arguments, "--project", "torchrun"]
    found = []
    for project, line in (("flag", flags), ("torchrun", torchrun)):
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "results" / project
        jobs = [path for path in (folder / "jobs").iterdir() if (path / "job.json").exists()]
        assert len(jobs) == 1, "only the first process has a job"
        found.append(losses(last_events(jobs[0] / "events.jsonl", 1000)))
        assert checkpoint_path(folder, STEPS).exists()
    assert len(found[0]) == STEPS + 2, "held-out losses before the first step and after the last"
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_process_that_fails_ends_the_run_with_its_number(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fishtune.core.stages.train.launch._MODULE", "fishtune.no_such_module")
    settings = train_settings(tmp_path, small_base, shards, devices=2)
    with pytest.raises(TrainingError, match="The training process of device 1 ended with code 1"):
        run(settings, Recorder())


def test_one_device_starts_no_process_group(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    ranks = find_ranks(train_settings(tmp_path, small_base, shards))
    assert (ranks.size, ranks.rank, ranks.environment, ranks.starts_others) == (1, 0, None, False)


def test_several_machines_without_a_meeting_point_are_refused(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="MASTER_ADDR, MASTER_PORT, NODE_RANK are not set"):
        find_ranks(train_settings(tmp_path, small_base, shards, devices=2, num_nodes=2))


def test_flags_that_contradict_torchrun_are_refused(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = {"LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "RANK": "3", "GROUP_RANK": "1"}
    started |= {"TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    ranks = find_ranks(train_settings(tmp_path, small_base, shards))
    assert (ranks.devices, ranks.num_nodes, ranks.rank, ranks.starts_others) == (2, 2, 3, False)
    with pytest.raises(UsageError, match="--devices is 3, but torchrun started 2"):
        find_ranks(train_settings(tmp_path, small_base, shards, devices=3))


def let_a_further_process_fail(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr("fishtune.core.stages.train.launch._MODULE", "tests.failing_rank")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.setenv("FAILING_RANK", how)


def test_of_a_connection_that_breaks_the_cause_is_told(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the midst of training, when only the further process knows it; that need load no torch here."""
    let_a_further_process_fail(monkeypatch, "shard once ready")
    broken = tmp_path / "broken"
    monkeypatch.setenv("BROKEN_CONNECTION", str(broken))
    settings = train_settings(tmp_path, small_base, shards, devices=2)
    with (
        pytest.raises(ShardError, match="device 1 failed: ANN.protos is damaged at byte 12."),
        other_ranks(find_ranks(settings), settings, Recorder()),
    ):
        broken.touch()
        raise RuntimeError("Connection closed by peer [127.0.0.1]:2321")


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("shard at start", ShardError, "device 1 failed: ANN.protos is damaged at byte 12."),
        pytest.param(
            *("shard", ShardError, "device 1 failed: ANN.protos is damaged at byte 12."),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("memory", DeviceMemoryError, "device 1 failed: Out of GPU memory"), marks=pytest.mark.slow
        ),
        ("bug at start", KeyError, "codes"),
        pytest.param(
            *("killed", TrainingError, "The training process of device 1 was ended by SIGKILL."),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_error_of_a_further_process_is_told_as_the_runs(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    kind: type[BaseException],
    message: str,
) -> None:
    let_a_further_process_fail(monkeypatch, how)
    with pytest.raises(kind) as caught:
        run(train_settings(tmp_path, small_base, shards, devices=2), Recorder())
    assert message in str(caught.value)
    if kind is ShardError:
        assert "Pack the recordings again." in str(caught.value)
    assert not torch.distributed.is_initialized()


def test_a_connection_that_breaks_without_a_known_cause_is_no_bug_of_ours() -> None:
    alone = Ranks(1, 2, 0, 0, LightningEnvironment(), False)
    settings = TrainSettings(project="x", results=Path(), base=Path(), protos=Path())
    text = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:2321"
    for error in (RuntimeError(text), torch.distributed.DistBackendError("NCCL error in: x")):
        with (
            pytest.raises(TrainingError, match="The connection to another process of the run broke"),
            other_ranks(alone, settings, Recorder()),
        ):
            raise error
    with pytest.raises(RuntimeError, match="ours"), other_ranks(alone, settings, Recorder()):
        raise RuntimeError("ours")
