"""Which device a stage computes on, and how much of its memory was used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class UsableGpu:
    """A GPU that may be used."""

    number: int
    free: int | None = None
    """Bytes; None = not known."""


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device that a setting means.

    Args:
        name: `auto` (a GPU where torch sees one, otherwise the CPU), `cpu`, `cuda` or `cuda:N`.
        local_rank: which GPU `auto` and `cuda` mean: the rank of this process on its machine.

    Raises:
        UsageError: no such name.
        DeviceError: torch sees no GPU, or not that many.
    """
    import torch

    if name == "cpu":
        return torch.device("cpu")
    numbered = re.fullmatch(r"cuda(?::(\d+))?", name)
    if numbered is None and name != "auto":
        raise UsageError(f"There is no device {name!r}.", "Choose auto, cpu, cuda or cuda:N (N from 0).")
    if not torch.cuda.is_available():
        if name == "auto":
            return torch.device("cpu")
        built = torch.version.cuda
        reason = (
            "torch was installed without CUDA"
            if built is None
            else f"torch (CUDA {built}) finds no usable GPU"
        )
        raise DeviceError(
            f"The device {name} cannot be used: {reason}.",
            "fishtune doctor says what is missing; --device cpu works everywhere, slowly.",
        )
    number = local_rank
    if numbered is not None and numbered[1] is not None:
        number = int(numbered[1])
    count = torch.cuda.device_count()
    if number >= count:
        raise DeviceError(
            f"The device cuda:{number} does not exist: torch sees {count} GPU{'s' if count > 1 else ''}.",
            f"The last one is cuda:{count - 1}; CUDA_VISIBLE_DEVICES may hide others.",
        )
    return torch.device("cuda", number)


def empty_cache() -> None:
    """Let go of GPU memory that torch keeps for later, so that larger pieces can be had."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class PeakMeter(Protocol):
    """Measures a device's memory."""

    @property
    def device_name(self) -> str:
        """Name of the device; devices of one name are alike."""

    def reset(self) -> None:
        """Forget the peak so far."""

    def peak(self) -> int:
        """Return the most bytes that were in use since `reset`."""


class _CudaPeakMeter:
    """Torch's own account of what it holds on a GPU, unused parts of its pool included."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._cuda = torch.cuda
        self._device = device
        self.device_name = self._cuda.get_device_name(device)

    def reset(self) -> None:
        """Give unused memory back and forget the peak so far."""
        self._cuda.empty_cache()
        self._cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        """Return the peak of what torch reserved, bytes."""
        self._cuda.synchronize(self._device)
        return self._cuda.max_memory_reserved(self._device)


def peak_meter(device: torch.device) -> PeakMeter | None:
    """Return a meter of a device's memory; None for the CPU, whose memory is no tight limit."""
    return _CudaPeakMeter(device) if device.type == "cuda" else None
