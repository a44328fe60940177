"""Which GPU is torch's `cuda:0`: `CUDA_VISIBLE_DEVICES`, `CUDA_DEVICE_ORDER` and multi-instance GPUs.

NVML numbers GPUs by their PCI address. CUDA numbers them fastest first unless `CUDA_DEVICE_ORDER` is
`PCI_BUS_ID`, and how it ranks unlike GPUs is not documented. So the mapping is certain for one GPU, for
like GPUs, for UUIDs and once torch has opened the devices in this process; otherwise it is a guess, and
`CudaView.note` says so.

Sources: "CUDA Environment Variables" in the CUDA C++ programming guide; "Device Enumeration" in the MIG
user guide (CUDA sees one multi-instance device at most, and then no other GPU).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import DeviceError
from ..messages import Message, joined
from .readings import Gpu, GpuReading, GpuState, Memory, MigDevice


@dataclass(frozen=True)
class CudaDevice:
    """A device as CUDA numbers it."""

    ordinal: int
    """`cuda:ordinal`."""
    gpu: Gpu
    mig: MigDevice | None = None
    """The slice of `gpu` that this device is, where the GPU is in multi-instance mode."""

    @property
    def memory(self) -> Memory | None:
        """Memory of the device: the slice's own if it is one."""
        return self.mig.memory if self.mig else self.gpu.memory


@dataclass(frozen=True)
class CudaView:
    """The devices that a CUDA program started from here sees, in its order."""

    devices: tuple[CudaDevice, ...]
    certain: bool
    note: str
    """One sentence on how the order was found, or what was assumed."""

    def ordinal(self, gpu: Gpu) -> int | None:
        """Return the `cuda:` number of a GPU; None if CUDA does not see it."""
        return next((device.ordinal for device in self.devices if device.gpu.uuid == gpu.uuid), None)

    def device(self, name: str) -> CudaDevice:
        """Return the device that torch calls `name`: `cuda`, `cuda:1`, or `auto` for the first.

        Raises:
            DeviceError: there is no such device.
        """
        number = int(name.partition(":")[2] or 0) if re.fullmatch(r"auto|cuda(:\d+)?", name) else -1
        if 0 <= number < len(self.devices):
            return self.devices[number]
        seen = joined((f"cuda:{device.ordinal} ({device.gpu.name})" for device in self.devices), ", ")
        raise DeviceError(
            "There is no CUDA device {name}; visible are: {seen}.",
            "Choose one of these, or change CUDA_VISIBLE_DEVICES. See: fishtune gpus",
            name=repr(name),
            seen=seen or Message("none"),
        )


def cuda_view(
    reading: GpuReading,
    environment: Mapping[str, str] | None = None,
    torch_uuids: list[str] | None = None,
) -> CudaView:
    """Return the devices that CUDA sees under `environment` (default: this process's).

    Args:
        torch_uuids: what torch itself found, from `torch_device_uuids`; then nothing needs to be guessed.
    """
    environment = os.environ if environment is None else environment
    usable = [gpu for gpu in reading.gpus if gpu.state is GpuState.READY]
    if torch_uuids is not None:
        return _from_torch(usable, torch_uuids)
    ordered, certain, note = _cuda_order(usable, environment)
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        chosen = [_whole_or_first_slice(gpu) for gpu in ordered]
    else:
        by_uuid = wanted.strip().startswith(("GPU-", "MIG-"))
        chosen, ended_by = (_by_uuid if by_uuid else _by_number)(ordered, wanted)
        variable = f"CUDA_VISIBLE_DEVICES={wanted}"
        note = (
            Message("{variable}.", variable=variable)
            if by_uuid or certain
            else Message("{variable}; {note}", variable=variable, note=note)
        )
        if ended_by:
            ignored = Message(
                "CUDA ignores {name} and what follows it: there is no such GPU.", name=repr(ended_by)
            )
            note = joined([note, ignored])
        certain = certain or by_uuid
    found = [device for device in chosen if device is not None]
    slices = [device for device in found if device[1] is not None]
    if slices and len(found) > 1:
        found = slices[:1]
        note = joined([note, Message("CUDA sees one multi-instance device at most, and then no other GPU.")])
    return CudaView(
        devices=tuple(CudaDevice(number, gpu, mig) for number, (gpu, mig) in enumerate(found)),
        certain=certain,
        note=note,
    )


def torch_device_uuids() -> list[str] | None:
    """Return the UUIDs of torch's devices in order; None unless torch already uses CUDA in this process.

    Nothing is imported or opened for it: a CUDA context costs hundreds of megabytes.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    count: int = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(number).uuid) for number in range(count)]


_Choice = tuple[Gpu, MigDevice | None]


def _cuda_order(gpus: list[Gpu], environment: Mapping[str, str]) -> tuple[list[Gpu], bool, Message]:
    if environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return gpus, True, Message("CUDA_DEVICE_ORDER=PCI_BUS_ID: CUDA counts as NVML does.")
    if len(gpus) <= 1:
        return (
            gpus,
            True,
            (Message("It is the only usable GPU.") if gpus else Message("There is no usable GPU.")),
        )
    if len({gpu.name for gpu in gpus}) == 1:
        return gpus, True, Message("All GPUs are alike: CUDA counts them by PCI address, as NVML does.")
    fastest_first = sorted(gpus, key=lambda gpu: -(gpu.speed or 0))
    return (
        fastest_first,
        False,
        Message(
            "CUDA counts unlike GPUs fastest first; this order is a guess from cores and clocks. "
            "Set CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure."
        ),
    )


def _whole_or_first_slice(gpu: Gpu) -> _Choice | None:
    if not gpu.mig_enabled:
        return gpu, None
    return (gpu, gpu.mig_devices[0]) if gpu.mig_devices else None  # without slices it cannot be used


def _by_number(gpus: list[Gpu], wanted: str) -> tuple[list[_Choice | None], str]:
    """CUDA reads each entry like C's strtol, stops at the first bad one; an entry given twice leaves none."""
    numbers: list[int] = []
    for entry in wanted.split(","):
        match = re.match(r"\s*\+?(\d+)", entry)
        number = int(match[1]) if match else -1
        if number in numbers:
            return [], ""
        if not 0 <= number < len(gpus):
            # "" and "-1" are how people ask for no GPU at all: nothing to complain about.
            return [_whole_or_first_slice(gpus[n]) for n in numbers], (
                "" if entry.strip() in ("", "-1") else entry.strip()
            )
        numbers.append(number)
    return [_whole_or_first_slice(gpus[n]) for n in numbers], ""


def _by_uuid(gpus: list[Gpu], wanted: str) -> tuple[list[_Choice | None], str]:
    chosen: list[_Choice | None] = []
    for entry in (part.strip() for part in wanted.split(",")):
        candidates: list[_Choice] = []
        for gpu in gpus:
            whole = _whole_or_first_slice(gpu)
            if whole is not None and entry.startswith("GPU-") and gpu.uuid.startswith(entry):
                candidates.append(whole)
            candidates += [(gpu, mig) for mig in gpu.mig_devices if _names_slice(entry, gpu, mig)]
        if len(candidates) != 1:  # unknown, or a prefix that several share
            return chosen, entry
        if candidates[0] in chosen:
            return [], ""
        chosen.append(candidates[0])
    return chosen, ""


def _names_slice(entry: str, gpu: Gpu, mig: MigDevice) -> bool:
    # Drivers before 470 wrote MIG-GPU-<uuid of the GPU>/<GPU instance>/<compute instance>.
    old = f"MIG-{gpu.uuid}/{mig.gpu_instance}/{mig.compute_instance}"
    return entry.startswith("MIG-") and (mig.uuid.startswith(entry) or entry == old)


def _from_torch(gpus: list[Gpu], uuids: list[str]) -> CudaView:
    known: dict[str, _Choice] = {_bare(gpu.uuid): (gpu, None) for gpu in gpus}
    known |= {_bare(mig.uuid): (gpu, mig) for gpu in gpus for mig in gpu.mig_devices}
    devices = tuple(
        CudaDevice(number, *known[_bare(uuid)]) for number, uuid in enumerate(uuids) if _bare(uuid) in known
    )
    return CudaView(
        devices, certain=True, note=Message("Matched by UUID with the devices that torch has opened.")
    )


def _bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").lower()
