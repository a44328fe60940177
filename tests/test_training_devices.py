"""Several processes, through the real command: same coverage and curve as one with accumulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.errors import TrainingError, UsageError
from fishtune.core.events import Step, Validation
from fishtune.core.jobs.follow import last_events
from fishtune.core.training.checkpoints import read_run_state
from fishtune.core.training.launch import find_world
from fishtune.core.training.names import checkpoint_path
from fishtune.core.training.run import run

from .recorder import Recorder
from .training_kit import (
    shards,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
    write_plain_preset,
)

STEPS = 6


def losses(events: list[Any]) -> list[tuple[float, ...]]:
    return [
        (event.step, event.base_loss, event.semantic_loss, event.clip_passes)
        for event in events
        if isinstance(event, Step | Validation)
    ]


def test_two_processes_compute_what_one_does_with_accumulation_2(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    runs = {}
    for project, changes in (("two", {"devices": 2}), ("one", {"accumulation": 2})):
        recorder = Recorder()
        # 2.5 epochs: the last step has a micro-batch for one of the two processes only, or for both.
        settings = train_settings(
            tmp_path, small_base, shards, project=project, max_steps=None, epochs=2.5, **changes
        )
        result = run(settings, recorder)
        runs[project] = losses(recorder.events), read_run_state(result.checkpoint).coverage.tolist()
    (one, one_coverage), (two, two_coverage) = runs["one"], runs["two"]
    assert len(one) == len(two) > 3
    for alone, shared in zip(one, two, strict=True):
        assert shared == pytest.approx(alone, abs=1e-4)
    assert one_coverage == two_coverage
    assert set(one_coverage) == {2, 3}


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
    assert len(found[0]) == STEPS + 1
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_process_that_fails_ends_the_run_with_its_number(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fishtune.core.training.launch._MODULE", "fishtune.no_such_module")
    settings = train_settings(tmp_path, small_base, shards, devices=2)
    with pytest.raises(TrainingError, match="The training process of device 1 ended with code 1"):
        run(settings, Recorder())


def test_one_device_starts_no_process_group(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    world = find_world(train_settings(tmp_path, small_base, shards))
    assert (world.size, world.rank, world.environment, world.starts_others) == (1, 0, None, False)


def test_several_machines_without_a_meeting_point_are_refused(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="MASTER_ADDR, MASTER_PORT, NODE_RANK are not set"):
        find_world(train_settings(tmp_path, small_base, shards, devices=2, num_nodes=2))


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
    world = find_world(train_settings(tmp_path, small_base, shards))
    assert (world.devices, world.num_nodes, world.rank, world.starts_others) == (2, 2, 3, False)
    with pytest.raises(UsageError, match="--devices is 3, but torchrun started 2"):
        find_world(train_settings(tmp_path, small_base, shards, devices=3))
