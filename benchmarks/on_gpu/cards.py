"""The card itself, and whether `fishtune gpus` says of it what torch says."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch
from fishtune.core.hardware.nvml import read_gpus
from fishtune.core.units import GIB

from .bench import Bench
from .flops import peak_of
from .running import Row

_PACKAGES = ("torch", "lightning", "peft", "torchaudio", "numpy", "nvidia-ml-py")
_SPEED_FILE = "matrix-product.json"
_REPEATS = 10
_SAME_MEMORY = 0.02
"""The driver keeps a share to itself, which NVML counts in and torch does not."""


def card(bench: Bench) -> Iterator[Row]:
    """Yield versions, the card, and how fast it multiplies and copies."""
    device = torch.device(bench.device)
    on_gpu = device.type != "cpu"
    facts = _of_the_card(device) if on_gpu else {"device": platform.processor() or platform.machine()}
    for name, value in {**facts, **_of_the_machine()}.items():
        yield {"what": name, "value": value}
    size = bench.sizes.matrix
    left, right = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    speed = 2 * size**3 / _seconds(bench, lambda: left @ right)
    (bench.work / _SPEED_FILE).write_text(json.dumps(speed))
    peak = peak_of(device_name(bench))
    yield {"what": "peak of bf16 products by the data sheet, TFLOP/s", "value": peak and peak / 1e12}
    yield {"what": f"bf16 product of {size} × {size}, TFLOP/s", "value": speed / 1e12}
    source = torch.empty(GIB if on_gpu else 1 << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() / _seconds(bench, lambda: target.copy_(source))
    yield {"what": "copy on the device, TB/s read and written", "value": moved / 1e12}


def own_speed(bench: Bench) -> float | None:
    """Return how many operations per second this card reached with large matrices; None if not measured."""
    file = bench.work / _SPEED_FILE
    return float(json.loads(file.read_text())) if file.exists() else None


def device_name(bench: Bench) -> str:
    """Return the name of the card, empty on a CPU."""
    return "" if bench.device == "cpu" else torch.cuda.get_device_name(bench.device)


def listing(_: Bench) -> Iterator[Row]:
    """Yield whether `fishtune gpus` has torch's devices: their order, names, and memory."""
    command = [sys.executable, "-P", "-m", "fishtune.core.cli", "gpus", "--json"]
    devices: list[Row] = []
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        torch.zeros(1, device=f"cuda:{number}")  # the context is there before both are asked what is free
        devices.append(
            {"name": properties.name, "uuid": str(properties.uuid), "total": properties.total_memory}
        )
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    content = json.loads(answer.stdout)
    found = content["cuda"]["devices"]
    yield {
        "what": "number of devices",
        "fishtune": len(found),
        "torch": len(devices),
        "passed": len(found) == len(devices),
    }
    for number, (theirs, own) in enumerate(zip(devices, found, strict=False)):
        gpu = content["gpus"][own["gpu"]]
        bare = own["uuid"].removeprefix("GPU-").removeprefix("MIG-")
        yield {
            "what": f"cuda:{number} is the same device",
            "fishtune": own["uuid"],
            "torch": theirs["uuid"],
            "passed": bare == theirs["uuid"],
        }
        yield {
            "what": f"cuda:{number} has the same name",
            "fishtune": gpu["name"],
            "torch": theirs["name"],
            "passed": gpu["name"] == theirs["name"],
        }
        free = torch.cuda.mem_get_info(number)[0]
        for what, ours, of_torch in (
            ("memory", gpu["memory"]["total"], theirs["total"]),
            ("free memory", gpu["memory"]["free"], free),
        ):
            yield {
                "what": f"cuda:{number} {what}, GiB",
                "fishtune": ours / GIB,
                "torch": of_torch / GIB,
                "passed": abs(ours - of_torch) <= _SAME_MEMORY * theirs["total"],
            }


def _of_the_card(device: torch.device) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory, GiB": properties.total_memory / GIB,
        "driver": read_gpus().driver_version,
    }


def _of_the_machine() -> dict[str, Any]:
    found: dict[str, Any] = {"cores": os.cpu_count(), "RAM, GiB": psutil.virtual_memory().total / GIB}
    found["Python"] = platform.python_version()
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    found["CUDA of torch"] = torch.version.cuda
    found["cuDNN"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return found


def _seconds(bench: Bench, work: Callable[[], object]) -> float:
    """Return the mean time of `work`, after it ran a few times."""
    for _ in range(3):
        work()
    bench.synchronise()
    began = time.perf_counter()
    for _ in range(_REPEATS):
        work()
    bench.synchronise()
    return (time.perf_counter() - began) / _REPEATS
