"""Readings through the real binding over a compiled stand-in for the driver's library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pynvml
import pytest
from fishtune.core.hardware.nvml import Nvml, read_gpus
from fishtune.core.hardware.processes import short_command
from fishtune.core.hardware.readings import DriverState, GpuState, Memory

from .fake_nvml import GIB, FakeNvml


def test_a_gpu_is_read_whole(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(
        gpu=37,
        temperature=61,
        power=312_500,
        cores=16_896,
        clock=1980,
        ecc=1,
        ecc_errors=2,
        mig=0,
        free=20 * GIB,
        compute=f"{os.getpid()}:{50 * GIB},1:{2 * GIB}",
        graphics=f"1:{2 * GIB}",
    )
    reading = read_gpus()
    assert reading.state is DriverState.READY
    assert reading.driver_version == "580.95.05"
    assert reading.cuda_version == (13, 0)
    (gpu,) = reading.gpus
    assert (gpu.state, gpu.message) == (GpuState.READY, "")
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert gpu.uuid.startswith("GPU-01111111")
    assert gpu.pci_address == "00000000:01:00.0"
    assert gpu.compute_capability == (9, 0)
    assert gpu.memory is not None
    assert gpu.memory == Memory(total=80 * GIB, free=20 * GIB, used=60 * GIB, reserved=GIB)
    assert (gpu.utilization, gpu.temperature, gpu.power, gpu.power_limit) == (37, 61, 312.5, 700.0)
    assert (gpu.ecc_enabled, gpu.ecc_errors, gpu.mig_enabled) == (True, 2, False)
    assert gpu.processes is not None
    mine, other = gpu.processes  # the one that computes and draws is listed once
    assert (mine.pid, mine.memory, mine.ours) == (os.getpid(), 50 * GIB, True)
    assert (other.pid, other.memory, other.ours) == (1, 2 * GIB, False)


def test_what_a_gpu_does_not_support_is_none(fake_nvml: FakeNvml) -> None:
    fake_nvml.gpu(0, name="NVIDIA GB10", uuid="GPU-a")
    (gpu,) = read_gpus().gpus
    assert gpu.state is GpuState.READY
    assert gpu.name == "NVIDIA GB10"
    assert gpu.memory is gpu.utilization is gpu.power is gpu.ecc_enabled is gpu.processes is None


def test_memory_is_read_from_drivers_that_know_only_the_first_version_of_the_call(
    fake_nvml: FakeNvml,
) -> None:
    fake_nvml.gpu(0, name="Tesla P40", uuid="GPU-a", total=24 * GIB, free=20 * GIB)
    (gpu,) = read_gpus().gpus
    assert gpu.memory is not None
    assert (gpu.memory.used, gpu.memory.reserved) == (4 * GIB, None)


def test_an_unseen_process_has_memory_but_no_name(fake_nvml: FakeNvml) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    fake_nvml.add_gpu(compute=f"{ended.pid}:{GIB}")
    (gpu,) = read_gpus().gpus
    assert gpu.processes is not None
    assert [(process.name, process.ours, process.memory) for process in gpu.processes] == [("", False, GIB)]


@pytest.mark.parametrize(
    ("code", "state", "words"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, DriverState.NOT_LOADED, "modprobe nvidia"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, DriverState.VERSION_MISMATCH, "Restart the machine"),
        (pynvml.NVML_ERROR_NO_PERMISSION, DriverState.NO_PERMISSION, "/dev/nvidia*"),
        (pynvml.NVML_ERROR_UNKNOWN, DriverState.FAILED, "The NVIDIA driver reports: Unknown Error."),
    ],
)
def test_a_driver_that_refuses_is_a_state(
    fake_nvml: FakeNvml, code: int, state: DriverState, words: str
) -> None:
    fake_nvml.update(init_error=code)
    reading = read_gpus()
    assert reading.state is state
    assert words in reading.message
    assert reading.gpus == ()


def test_no_library_is_a_state(tmp_path: Path) -> None:
    program = (
        "from fishtune.core.hardware.nvml import read_gpus; r = read_gpus(); print(r.state.name, r.message)"
    )
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    if (
        subprocess.run(
            [sys.executable, "-c", "import ctypes; ctypes.CDLL('libnvidia-ml.so.1')"], capture_output=True
        ).returncode
        == 0
    ):
        pytest.skip("this machine has an NVIDIA driver, which cannot be hidden")
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("NO_DRIVER No NVIDIA driver is installed")


def test_a_driver_without_gpus_is_a_state(fake_nvml: FakeNvml) -> None:
    reading = read_gpus()
    assert reading.state is DriverState.NO_GPU
    assert "no GPU to offer" in reading.message


def test_the_binding_finds_the_library_as_it_finds_the_driver(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu()
    program = "from fishtune.core.hardware.nvml import read_gpus; print(read_gpus().gpus[0].name)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=fake_nvml.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "NVIDIA H100 80GB HBM3\n"


def test_a_gpu_lost_while_polling_is_a_state_and_the_others_go_on(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu()
    fake_nvml.add_gpu()
    with Nvml() as nvml:
        assert [gpu.state for gpu in nvml.read().gpus] == [GpuState.READY, GpuState.READY]
        fake_nvml.gpu(0, error=pynvml.NVML_ERROR_GPU_IS_LOST)
        lost, well = nvml.read().gpus
        assert lost.state is GpuState.LOST
        assert lost.name == "NVIDIA H100 80GB HBM3"
        assert "fell off the bus" in lost.message
        assert lost.memory is None
        assert well.state is GpuState.READY
        del fake_nvml.keys["0.error"]
        fake_nvml.write()
        assert [gpu.state for gpu in nvml.read().gpus] == [GpuState.READY, GpuState.READY]


def test_a_gpu_that_the_driver_no_longer_counts_is_lost(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(name="one")
    fake_nvml.add_gpu(name="two")
    with Nvml() as nvml:
        nvml.read()
        fake_nvml.update(count=1)
        assert [(gpu.name, gpu.state) for gpu in nvml.read().gpus] == [
            ("one", GpuState.READY),
            ("two", GpuState.LOST),
        ]


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, GpuState.NO_PERMISSION),
        (pynvml.NVML_ERROR_GPU_IS_LOST, GpuState.LOST),
        (pynvml.NVML_ERROR_UNKNOWN, GpuState.FAILED),
    ],
)
def test_a_gpu_that_cannot_be_opened_is_a_state(fake_nvml: FakeNvml, code: int, state: GpuState) -> None:
    fake_nvml.add_gpu(handle_error=code)
    (gpu,) = read_gpus().gpus
    assert gpu.state is state
    assert gpu.message


def test_a_driver_that_goes_and_comes_back_is_found_again(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu()
    with Nvml() as nvml:
        assert nvml.read().state is DriverState.READY
        fake_nvml.update(count_error=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        assert nvml.read().state is DriverState.NOT_LOADED
        del fake_nvml.keys["count.error"]
        fake_nvml.write()
        assert nvml.read().state is DriverState.READY


def test_slices_of_a_multi_instance_gpu(fake_nvml: FakeNvml) -> None:
    fake_nvml.add_gpu(mig=1, slots=7)
    fake_nvml.gpu(
        0,
        mig1_uuid="MIG-aaaa",
        mig1_gi=2,
        mig1_ci=0,
        mig1_total=20 * GIB,
        mig1_free=19 * GIB,
        mig1_compute=f"1:{GIB}",
    )
    (gpu,) = read_gpus().gpus
    assert gpu.mig_enabled
    (slice_,) = gpu.mig_devices  # the other six slots are empty
    assert (slice_.index, slice_.uuid, slice_.gpu_instance, slice_.compute_instance) == (1, "MIG-aaaa", 2, 0)
    assert slice_.memory is not None
    assert slice_.memory.free == 19 * GIB
    assert slice_.processes is not None
    assert slice_.processes[0].memory == GIB


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (
            ["/usr/bin/python3", "-P", "-m", "fishtune.core.jobs", "--token", "hf_x"],
            "python3 -m fishtune.core.jobs",
        ),
        (["python", "/home/a/train.py", "--lr", "1"], "python train.py"),
        (["python3", "-c", "secret()"], "python3"),
        (["/opt/ollama", "serve"], "ollama"),
        ([], ""),
    ],
)
def test_the_short_command_shows_the_program_and_no_arguments(command: list[str], name: str) -> None:
    assert short_command(command) == name
