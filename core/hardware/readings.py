"""What NVML says, as values: every state a machine can be in has a type, none is an exception.

Memory in bytes, temperature in degrees Celsius, power in watts, utilisation in percent. `None` stands for
"this GPU or driver does not say".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..messages import NOTHING, Message


class DriverState(StrEnum):
    """Whether GPUs can be asked at all."""

    READY = "ready"
    NO_DRIVER = "no driver"
    """No NVML library: no NVIDIA driver is installed."""
    NOT_LOADED = "driver not loaded"
    """The library is there, the kernel's driver is not."""
    VERSION_MISMATCH = "driver version mismatch"
    """Library and kernel driver are of different versions, as after an update without a restart."""
    NO_PERMISSION = "no permission"
    NO_GPU = "no GPU"
    FAILED = "failed"


class GpuState(StrEnum):
    """Whether one GPU can be used."""

    READY = "ready"
    LOST = "lost"
    """It fell off the bus."""
    NEEDS_RESET = "needs reset"
    NO_PERMISSION = "no permission"
    FAILED = "failed"


@dataclass(frozen=True)
class Memory:
    """Device memory; `used` includes what the driver holds for itself (`reserved`)."""

    total: int
    free: int
    used: int
    reserved: int | None = None


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds device memory."""

    pid: int
    name: str
    """Program and script or module; empty when the process cannot be seen from here (a container)."""
    memory: int | None
    ours: bool
    """This process, a fishtune job, or a child of one."""


@dataclass(frozen=True)
class MigDevice:
    """A slice of a GPU in multi-instance mode, as CUDA sees it."""

    index: int
    uuid: str
    gpu_instance: int | None
    compute_instance: int | None
    memory: Memory | None
    processes: tuple[GpuProcess, ...] | None


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    index: int
    """NVML's number: GPUs in order of their PCI address."""
    state: GpuState = GpuState.READY
    message: Message = NOTHING
    """What is wrong and what to do, unless `state` is ready."""
    name: str = ""
    uuid: str = ""
    pci_address: str = ""
    compute_capability: tuple[int, int] | None = None
    speed: int | None = None
    """Cores · highest clock in MHz: only to guess the order in which CUDA numbers unlike GPUs."""
    memory: Memory | None = None
    utilization: int | None = None
    """Share of the last sample period in which a kernel ran."""
    temperature: int | None = None
    power: float | None = None
    power_limit: float | None = None
    mig_enabled: bool | None = None
    mig_devices: tuple[MigDevice, ...] = ()
    ecc_enabled: bool | None = None
    ecc_errors: int | None = None
    """Uncorrected memory errors since the driver was loaded."""
    processes: tuple[GpuProcess, ...] | None = None


@dataclass(frozen=True)
class GpuReading:
    """All GPUs of this machine at one moment."""

    state: DriverState
    message: Message = NOTHING
    """What is wrong and what to do, unless `state` is ready."""
    driver_version: str = ""
    cuda_version: tuple[int, int] | None = None
    """Highest CUDA version that the driver supports."""
    gpus: tuple[Gpu, ...] = ()
