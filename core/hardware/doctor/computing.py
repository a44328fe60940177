"""Checks of what computes: torch, the driver, the GPUs, and whether they go together.

Torch is asked in a process of its own: importing it takes seconds, and a broken one can take the process
with it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import BaseModel

from ...units import GIB, format_bytes
from ..readings import DriverState, Gpu, GpuReading, GpuState
from ..visibility import cuda_view
from .check import Check, Status

FREE_DEVICE_MEMORY: Final = 6 * GIB
"""Below it no recommended preset trains; see docs/memory.md."""
_PROBE_SECONDS: Final = 120
_PROBE = """
import json, torch
found = {"version": torch.__version__, "cuda": torch.version.cuda, "devices": [], "error": "", "audio": ""}
try:
    import torchaudio
except Exception as error:
    found["audio"] = f"{type(error).__name__}: {error}"
try:
    for number in range(torch.cuda.device_count()):
        torch.ones(8, device=f"cuda:{number}").sum().item()
        found["devices"].append(torch.cuda.get_device_name(number))
except Exception as error:
    found["error"] = str(error).strip().splitlines()[0]
print(json.dumps(found))
"""


class TorchProbe(BaseModel):
    """What torch says about itself in a process of its own."""

    version: str = ""
    cuda: str | None = None
    """CUDA version that it was built for; None = without CUDA."""
    devices: list[str] = []
    """Names of the GPUs that it computed on."""
    error: str = ""
    """Why it could not be imported or not compute on a GPU."""
    audio: str = ""
    """Why torchaudio could not be imported."""


def probe_torch(python: str = sys.executable) -> TorchProbe:
    """Ask torch in a process of its own."""
    try:
        result = subprocess.run(
            [python, "-P", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TorchProbe(error=f"no answer within {_PROBE_SECONDS} s")
    if result.returncode == 0:
        return TorchProbe.model_validate_json(result.stdout.splitlines()[-1])
    lines = result.stderr.strip().splitlines()
    return TorchProbe(error=lines[-1] if lines else f"it ended with code {result.returncode}")


def check_torch(probe: TorchProbe) -> Check:
    """Say whether torch and torchaudio can be used at all."""
    if not probe.version:
        return Check(
            name="torch",
            status=Status.FAIL,
            message=f"torch cannot be imported: {probe.error}",
            hint="Install it again in this environment; see the installation page of PyTorch.",
        )
    built = f"built for CUDA {probe.cuda}" if probe.cuda else "built without CUDA"
    if probe.audio:
        return Check(
            name="torch",
            status=Status.FAIL,
            message=f"torch {probe.version} works, but torchaudio cannot be imported: {probe.audio}",
            hint="Install versions of torch and torchaudio that belong together, from the same place.",
        )
    return Check(name="torch", status=Status.OK, message=f"{probe.version}, {built}")


def check_gpus(reading: GpuReading) -> Iterator[Check]:
    """Yield the state of the driver and of every GPU."""
    if reading.state is not DriverState.READY:
        absent = reading.state in (DriverState.NO_DRIVER, DriverState.NO_GPU)
        yield Check(
            name="GPU",
            status=Status.WARN if absent else Status.FAIL,
            message=f"{reading.state}. {reading.message}",
            hint="Without a GPU everything works, but S1-mini trains very slowly." if absent else "",
        )
        return
    cuda = ".".join(map(str, reading.cuda_version)) if reading.cuda_version else "an unknown version"
    yield Check(
        name="Driver",
        status=Status.OK,
        message=f"NVIDIA {reading.driver_version}, supports CUDA up to {cuda}",
    )
    for gpu in reading.gpus:
        yield _check_gpu(gpu)


def _check_gpu(gpu: Gpu) -> Check:
    name = f"GPU {gpu.index}"
    if gpu.state is not GpuState.READY:
        what = f"{gpu.name or 'unknown card'}: {gpu.state}."
        return Check(name=name, status=Status.FAIL, message=what, hint=gpu.message)
    if gpu.ecc_errors:
        return Check(
            name=name,
            status=Status.WARN,
            message=f"{gpu.name}: {gpu.ecc_errors} uncorrected memory errors since the driver was loaded.",
            hint="Results may be wrong. Restart the machine; if they come back, have the card replaced.",
        )
    if gpu.memory is None:
        return Check(name=name, status=Status.OK, message=f"{gpu.name}, memory unknown")
    free = f"{gpu.name}, {format_bytes(gpu.memory.free)} of {format_bytes(gpu.memory.total)} free"
    if gpu.memory.free < FREE_DEVICE_MEMORY:
        held = ", ".join(process.name or str(process.pid) for process in gpu.processes or ())
        return Check(
            name=name,
            status=Status.WARN,
            message=f"{free}." + (f" The rest is held by {held}." if held else ""),
            hint="See what fits with: fishtune estimate",
        )
    return Check(name=name, status=Status.OK, message=free)


def check_agreement(
    reading: GpuReading, probe: TorchProbe, environment: Mapping[str, str]
) -> Iterator[Check]:
    """Yield whether torch can use the GPUs that the driver has."""
    ready = [gpu for gpu in reading.gpus if gpu.state is GpuState.READY]
    if not ready or not probe.version:
        return
    visible = cuda_view(reading, environment).devices
    needed = tuple(int(part) for part in probe.cuda.split(".")) if probe.cuda else None
    status = Status.FAIL
    if needed is None:
        message = f"torch {probe.version} was built without CUDA, so it cannot use the GPU."
        hint = "Install a torch built for CUDA; see the installation page of PyTorch."
    elif reading.cuda_version and reading.cuda_version[0] < needed[0]:
        supported = ".".join(map(str, reading.cuda_version))
        message = (
            f"The driver {reading.driver_version} is too old: it supports CUDA {supported}, "
            f"torch needs {probe.cuda}."
        )
        hint = f"Update the driver, or install a torch built for CUDA {reading.cuda_version[0]}."
    elif not visible:
        status = Status.WARN
        message = f"CUDA_VISIBLE_DEVICES={environment.get('CUDA_VISIBLE_DEVICES', '')} hides every GPU."
        hint = "Unset it, or name a GPU: fishtune gpus"
    elif probe.error or not probe.devices:
        message = f"torch cannot compute on the GPU: {probe.error or 'it finds none'}"
        hint = "If it says 'no kernel image', this torch is too new or too old for the card."
    else:
        old = [d.gpu.name for d in visible if (d.gpu.compute_capability or (8, 0)) < (8, 0)]
        status = Status.WARN if old else Status.OK
        message, hint = f"torch computes on {', '.join(probe.devices)}", ""
        if old:
            message += f"; {', '.join(old)} has no bfloat16"
            hint = (
                "Training then runs in float32, with twice the memory: fishtune estimate --precision float32"
            )
    yield Check(name="torch and GPU", status=status, message=message, hint=hint)
