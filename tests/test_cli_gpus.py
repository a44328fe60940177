"""`fishtune gpus` as a person and as a script runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pynvml
import pytest
from fishtune.core.cli.app import run

from .fake_nvml import GIB, FakeNvml


def test_the_table_shows_memory_processes_and_the_cuda_number(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    fake_nvml.add_gpu(compute=f"{os.getpid()}:{2 * GIB}", free=77 * GIB)
    fake_nvml.add_gpu(gpu=97, temperature=66)
    fake_nvml.add_gpu(error=pynvml.NVML_ERROR_GPU_IS_LOST)
    assert run(["gpus"]) == 0
    lines = capsys.readouterr().out.splitlines()
    hidden, visible, lost = lines[1:4]
    assert hidden.split()[:2] == ["0", "–"]
    assert "3.0/80.0 GiB" in hidden
    assert visible.split()[:2] == ["1", "cuda:0"]
    assert "97%" in visible
    assert "66°C" in visible
    assert lost.rstrip().endswith("lost")
    assert "GPU 2: This GPU fell off the bus" in lines[4]
    (process,) = [line for line in lines if str(os.getpid()) in line.split()]
    assert "2.0 GiB" in process
    assert process.rstrip().endswith("(fishtune)")
    assert "Driver 580.95.05, CUDA up to 13.0. CUDA_VISIBLE_DEVICES=1." in "\n".join(lines)


def test_json_holds_the_reading_and_the_cuda_order(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.add_gpu(name="RTX 3060", cores=10, clock=10)
    fake_nvml.add_gpu(name="RTX 4090", cores=100, clock=10)
    assert run(["gpus", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["state"] == "ready"
    assert [gpu["memory"]["free"] for gpu in content["gpus"]] == [79 * GIB, 79 * GIB]
    assert [device["gpu"] for device in content["cuda"]["devices"]] == [1, 0]
    assert content["cuda"]["certain"] is False


def test_a_machine_without_driver_says_so_and_is_no_error(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_nvml.update(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert run(["gpus"]) == 0
    assert capsys.readouterr().out.startswith("no driver: No NVIDIA driver is installed")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_watch_writes_a_line_a_reading_into_a_pipe_until_interrupted(
    fake_nvml: FakeNvml, options: list[str]
) -> None:
    fake_nvml.add_gpu()
    process = subprocess.Popen(
        [sys.executable, "-c", "from fishtune.core.cli import main; main()", "gpus", "--watch", *options],
        env=fake_nvml.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    for line in (first, second):
        assert json.loads(line)["gpus"][0]["uuid"] if options else "NVIDIA H100 80GB HBM3" in line
