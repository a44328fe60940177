"""Readings of all GPUs through NVML (`nvidia-ml-py`), cheap enough for once a second.

Nothing here raises: an absent driver, a GPU that falls off the bus between two readings or a call that
this GPU does not know are states and `None`s of `readings.py`. The binding, which takes 3 MiB, is imported
on first use and only where a driver is installed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType, TracebackType
from typing import Any, Final

from ..messages import NOTHING, Message
from .processes import ProcessNames
from .readings import DriverState, Gpu, GpuProcess, GpuReading, GpuState, Memory, MigDevice

_MILLI: Final = 1000
_HINTS: Final = {
    DriverState.NO_DRIVER: Message(
        "No NVIDIA driver is installed (libnvidia-ml.so.1 was not found). Install the "
        "driver, or start the container with its GPUs (docker run --gpus all)."
    ),
    DriverState.NOT_LOADED: Message(
        "The NVIDIA driver is installed but not loaded. Try: sudo modprobe nvidia; if the "
        "driver or the kernel was just updated, restart the machine."
    ),
    DriverState.VERSION_MISMATCH: Message(
        "The NVIDIA library and the loaded driver are of different versions, as after an "
        "update. Restart the machine."
    ),
    DriverState.NO_PERMISSION: Message(
        "The NVIDIA driver refuses this user. Check the permissions of /dev/nvidia* and the "
        "groups of this account."
    ),
    DriverState.NO_GPU: Message(
        "The NVIDIA driver runs but has no GPU to offer. Check the card, the machine type, "
        "or which GPUs the container was given."
    ),
}
_GPU_HINTS: Final = {
    GpuState.LOST: Message(
        "This GPU fell off the bus (power, heat or hardware trouble). Restart the machine; "
        "if it happens again, look at: sudo dmesg | grep -i xid"
    ),
    GpuState.NEEDS_RESET: Message(
        "This GPU must be reset by an administrator: nvidia-smi --gpu-reset, or a restart."
    ),
    GpuState.NO_PERMISSION: Message("This user may not use this GPU. Check the permissions of /dev/nvidia*."),
}


def library_is_installed() -> bool:
    """Return whether this machine has NVML's library, that is a driver of NVIDIA."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


class _DriverError(Exception):
    def __init__(self, state: DriverState, message: Message) -> None:
        super().__init__(message)
        self.state = state
        self.message = message


class _GpuError(Exception):
    def __init__(self, state: GpuState, message: Message) -> None:
        super().__init__(message)
        self.state = state
        self.message = message


@dataclass
class _Device:
    """A GPU's handle and what never changes about it."""

    handle: Any
    identity: Gpu


class Nvml:
    """A connection to the driver, opened once and asked as often as one likes.

    Usable from any one thread at a time. `close` it, or use it as a context manager.
    """

    def __init__(self) -> None:
        self._binding: ModuleType | None = None
        self._open = False
        self._versions: tuple[str, tuple[int, int] | None] = ("", None)
        self._devices: dict[int, _Device] = {}
        self._count = 0
        self._seen: dict[str, Gpu] = {}  # by UUID: every GPU that was there once
        self._names = ProcessNames()

    def __enter__(self) -> Nvml:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; a later `read` opens it again."""
        self._devices.clear()
        if self._open:
            self._open = False
            self._try(self._api.nvmlShutdown)

    def read(self) -> GpuReading:
        """Return the present state of all GPUs."""
        try:
            self._connect()
            count = self._call(self._api.nvmlDeviceGetCount)
            if count != self._count:  # GPUs may have been renumbered
                self._devices.clear()
                self._count = count
            gpus = [self._read_gpu(index) for index in range(count)]
            gpus += self._vanished(gpus)
        except _DriverError as error:
            self.close()  # so that the next reading begins anew once the driver is back
            return GpuReading(state=error.state, message=error.message)
        driver, cuda = self._versions
        self._names.forget_ended()
        state = DriverState.READY if gpus else DriverState.NO_GPU
        return GpuReading(
            state=state,
            message=_HINTS.get(state, NOTHING),
            driver_version=driver,
            cuda_version=cuda,
            gpus=tuple(gpus),
        )

    # the connection

    @property
    def _api(self) -> Any:
        if self._binding is None:
            import pynvml

            self._binding = pynvml
        return self._binding

    def _connect(self) -> None:
        if self._open:
            return
        if not library_is_installed():
            raise _DriverError(DriverState.NO_DRIVER, _HINTS[DriverState.NO_DRIVER])
        api = self._api
        self._call(api.nvmlInit)
        self._open = True
        driver = self._try(api.nvmlSystemGetDriverVersion) or ""
        cuda = self._try(api.nvmlSystemGetCudaDriverVersion_v2)  # 12040 is 12.4
        self._versions = driver, (cuda // 1000, cuda % 1000 // 10) if cuda else None

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that concerns the whole driver."""
        try:
            return function(*arguments)
        except self._api.NVMLError as error:
            raise self._driver_error(error) from error

    def _driver_error(self, error: Any) -> _DriverError:
        api = self._api
        state = {
            api.NVML_ERROR_LIBRARY_NOT_FOUND: DriverState.NO_DRIVER,
            api.NVML_ERROR_DRIVER_NOT_LOADED: DriverState.NOT_LOADED,
            api.NVML_ERROR_LIB_RM_VERSION_MISMATCH: DriverState.VERSION_MISMATCH,
            api.NVML_ERROR_NO_PERMISSION: DriverState.NO_PERMISSION,
            api.NVML_ERROR_GPU_NOT_FOUND: DriverState.NO_GPU,
        }.get(error.value, DriverState.FAILED)
        return _DriverError(
            state, _HINTS.get(state, Message("The NVIDIA driver reports: {reason}.", reason=error))
        )

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Ask a GPU; None where it does not know the question.

        Raises:
            _GpuError: the GPU itself is in trouble.
            _DriverError: the driver is gone.
        """
        api = self._api
        try:
            return function(*arguments)
        except api.NVMLError as error:
            if error.value in (api.NVML_ERROR_UNINITIALIZED, api.NVML_ERROR_DRIVER_NOT_LOADED):
                raise self._driver_error(error) from error
            state = {
                api.NVML_ERROR_GPU_IS_LOST: GpuState.LOST,
                api.NVML_ERROR_RESET_REQUIRED: GpuState.NEEDS_RESET,
                api.NVML_ERROR_UNKNOWN: GpuState.FAILED,
                api.NVML_ERROR_IRQ_ISSUE: GpuState.FAILED,
                api.NVML_ERROR_TIMEOUT: GpuState.FAILED,
            }.get(error.value)
            if state is None:
                return None
            raise _GpuError(
                state, _GPU_HINTS.get(state, Message("The driver reports: {reason}.", reason=error))
            ) from error

    def _try(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._api.NVMLError:
            return None

    # one GPU

    def _read_gpu(self, index: int) -> Gpu:
        known = self._devices.get(index)
        try:
            device = known or self._find(index)
            return self._measure(device)
        except _GpuError as error:
            identity = known.identity if known else Gpu(index=index)
            return replace(identity, state=error.state, message=error.message)

    def _find(self, index: int) -> _Device:
        api = self._api
        try:
            handle = api.nvmlDeviceGetHandleByIndex(index)
        except api.NVMLError as error:
            if error.value == api.NVML_ERROR_NO_PERMISSION:
                state = GpuState.NO_PERMISSION
                raise _GpuError(state, _GPU_HINTS[state]) from error
            if error.value == api.NVML_ERROR_GPU_IS_LOST:
                raise _GpuError(GpuState.LOST, _GPU_HINTS[GpuState.LOST]) from error
            raise _GpuError(
                GpuState.FAILED, Message("The driver reports: {reason}.", reason=error)
            ) from error
        pci = self._ask(api.nvmlDeviceGetPciInfo, handle)
        cores = self._ask(api.nvmlDeviceGetNumGpuCores, handle)
        clock = self._ask(api.nvmlDeviceGetMaxClockInfo, handle, api.NVML_CLOCK_SM)
        limit = self._ask(api.nvmlDeviceGetEnforcedPowerLimit, handle)
        identity = Gpu(
            index=index,
            name=self._ask(api.nvmlDeviceGetName, handle) or "",
            uuid=self._ask(api.nvmlDeviceGetUUID, handle) or "",
            pci_address=pci.busId if pci else "",
            compute_capability=self._ask(api.nvmlDeviceGetCudaComputeCapability, handle),
            speed=cores * clock if cores and clock else None,
            power_limit=limit / _MILLI if limit else None,
        )
        device = _Device(handle, identity)
        self._devices[index] = device
        if identity.uuid:
            self._seen[identity.uuid] = identity
        return device

    def _measure(self, device: _Device) -> Gpu:
        api, handle = self._api, device.handle
        utilization = self._ask(api.nvmlDeviceGetUtilizationRates, handle)
        power = self._ask(api.nvmlDeviceGetPowerUsage, handle)
        mig = self._ask(api.nvmlDeviceGetMigMode, handle)
        ecc = self._ask(api.nvmlDeviceGetEccMode, handle)
        mig_enabled = bool(mig[0]) if mig else None
        return replace(
            device.identity,
            memory=self._memory(handle),
            utilization=utilization.gpu if utilization else None,
            temperature=self._ask(api.nvmlDeviceGetTemperature, handle, api.NVML_TEMPERATURE_GPU),
            power=power / _MILLI if power is not None else None,
            mig_enabled=mig_enabled,
            mig_devices=self._mig_devices(device) if mig_enabled else (),
            ecc_enabled=bool(ecc[0]) if ecc else None,
            ecc_errors=self._ask(
                api.nvmlDeviceGetTotalEccErrors,
                handle,
                api.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                api.NVML_VOLATILE_ECC,
            )
            if ecc and ecc[0]
            else None,
            processes=self._processes(handle),
        )

    def _memory(self, handle: Any) -> Memory | None:
        api = self._api
        detailed = self._ask(api.nvmlDeviceGetMemoryInfo, handle, api.nvmlMemory_v2)
        if detailed is not None:
            # Version 2 counts the driver's own share apart; version 1 counts it as used.
            return Memory(
                total=detailed.total,
                free=detailed.free,
                used=detailed.used + detailed.reserved,
                reserved=detailed.reserved,
            )
        plain = self._ask(api.nvmlDeviceGetMemoryInfo, handle)
        return Memory(total=plain.total, free=plain.free, used=plain.used) if plain else None

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        api = self._api
        found: dict[int, int | None] = {}
        answered = False
        for function in (
            api.nvmlDeviceGetComputeRunningProcesses,
            api.nvmlDeviceGetGraphicsRunningProcesses,
            api.nvmlDeviceGetMPSComputeRunningProcesses,
        ):
            entries = self._ask(function, handle)
            if entries is None:
                continue
            answered = True
            for entry in entries:
                # A process that computes and draws is listed twice with the same total.
                found[entry.pid] = max(found.get(entry.pid) or 0, entry.usedGpuMemory or 0) or None
        if not answered:
            return None
        readings = [
            GpuProcess(pid=pid, memory=used, name=self._names.name(pid), ours=self._names.is_ours(pid))
            for pid, used in found.items()
        ]
        return tuple(sorted(readings, key=lambda process: (-(process.memory or 0), process.pid)))

    def _mig_devices(self, device: _Device) -> tuple[MigDevice, ...]:
        api = self._api
        slots = self._ask(api.nvmlDeviceGetMaxMigDeviceCount, device.handle) or 0
        devices = []
        for index in range(slots):
            handle = self._ask(api.nvmlDeviceGetMigDeviceHandleByIndex, device.handle, index)
            if handle is None:  # an unused slot
                continue
            devices.append(
                MigDevice(
                    index=index,
                    uuid=self._ask(api.nvmlDeviceGetUUID, handle) or "",
                    gpu_instance=self._ask(api.nvmlDeviceGetGpuInstanceId, handle),
                    compute_instance=self._ask(api.nvmlDeviceGetComputeInstanceId, handle),
                    memory=self._memory(handle),
                    processes=self._processes(handle),
                )
            )
        return tuple(devices)

    def _vanished(self, present: list[Gpu]) -> list[Gpu]:
        """Return GPUs of earlier readings that the driver no longer counts, as lost."""
        uuids = {gpu.uuid for gpu in present}
        return [
            replace(gpu, state=GpuState.LOST, message=_GPU_HINTS[GpuState.LOST])
            for uuid, gpu in self._seen.items()
            if uuid not in uuids
        ]


def read_gpus() -> GpuReading:
    """Return one reading of all GPUs; for repeated ones keep an `Nvml`."""
    with Nvml() as nvml:
        return nvml.read()
