"""The device that a stage will use, seen before torch is loaded."""

from __future__ import annotations

from ..compute.devices import FIRST_WITH_BF16, UsableGpu, can_compile, resolve_device
from ..errors import DeviceError
from .memory.setups import Precision
from .memory.suggest import Available
from .nvml import read_gpus
from .readings import GpuReading
from .visibility import CudaDevice, cuda_view, torch_device_uuids


def find_device(reading: GpuReading, name: str = "auto") -> CudaDevice | None:
    """Return the device that torch calls `name` (`auto`, `cuda`, `cuda:1`); None where CUDA sees none at all.

    Raises:
        DeviceError: there are devices, but not that one.
    """
    view = cuda_view(reading, torch_uuids=torch_device_uuids())
    return view.device(name) if view.devices else None


def available_on(device: CudaDevice) -> Available | None:
    """Return what may be used on a device; None where the driver does not tell its memory."""
    if device.memory is None:
        return None
    processes = device.mig.processes if device.mig else device.gpu.processes
    return Available.of(device.gpu.name, device.memory, processes or ())


def usable_gpu(name: str) -> UsableGpu | None:
    """Return the GPU that a setting means for what computes without torch; None for the CPU.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageError, DeviceError: see `resolve_device`.
    """
    chosen = resolve_device(name)
    if chosen.type != "cuda":
        return None
    number = chosen.index or 0
    try:
        found = find_device(read_gpus(), f"cuda:{number}")
    except DeviceError:  # torch sees it, the driver's own library does not tell of it
        return UsableGpu(number)
    available = available_on(found) if found else None
    return UsableGpu(number, available.usable if available else None)


def precision_on(device: CudaDevice | None) -> Precision:
    """Return what the precision `auto` comes to on a device; None stands for a card that is only imagined."""
    capability = device.gpu.compute_capability if device else None
    return "float32" if capability is not None and capability < FIRST_WITH_BF16 else "bf16"


def compiles_on(device: CudaDevice | None) -> bool:
    """Return whether training on a device probably runs its blocks compiled.

    None stands for a card that is only imagined: what is told of it then holds without a compiler, too.
    """
    return device is not None and can_compile()
