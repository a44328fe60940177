"""Which device a stage computes on, and how much of its memory was used."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import DeviceError, UsageError
from ..messages import Message, plural

if TYPE_CHECKING:
    import torch

FIRST_WITH_BF16: Final = (8, 0)
"""Compute capability from which bfloat16 is computed, not imitated."""


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
    _let_the_pool_grow()
    import torch

    if name == "cpu":
        return torch.device("cpu")
    numbered = re.fullmatch(r"cuda(?::(\d+))?", name)
    if numbered is None and name != "auto":
        raise UsageError(
            "There is no device {name}.", "Choose auto, cpu, cuda or cuda:N (N from 0).", name=repr(name)
        )
    if not torch.cuda.is_available():
        if name == "auto":
            return torch.device("cpu")
        built = torch.version.cuda
        reason = (
            Message("torch was installed without CUDA")
            if built is None
            else Message("torch (CUDA {version}) finds no usable GPU", version=built)
        )
        raise DeviceError(
            "The device {name} cannot be used: {reason}.",
            "fishtune doctor says what is missing; --device cpu works everywhere, slowly.",
            name=name,
            reason=reason,
        )
    number = local_rank
    if numbered is not None and numbered[1] is not None:
        number = int(numbered[1])
    count = torch.cuda.device_count()
    if number >= count:
        raise DeviceError(
            plural(
                count,
                "The device cuda:{index} does not exist: torch sees {number} GPU.",
                "The device cuda:{index} does not exist: torch sees {number} GPUs.",
                index=number,
            ),
            "The last one is cuda:{last}; CUDA_VISIBLE_DEVICES may hide others.",
            last=count - 1,
        )
    return torch.device("cuda", number)


def _let_the_pool_grow() -> None:
    """Let torch's pool of GPU memory grow in place, unless the user has said how it is to be managed.

    Batches of changing sizes leave gaps in a pool of fixed pieces: a third of extraction's was unused. Torch
    reads this once, before its first allocation on a GPU.
    """
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"


def computes_in_bf16(device: torch.device) -> bool:
    """Return whether a device has bfloat16 itself; imitated, it is slow and has no fused attention."""
    import torch

    return device.type == "cpu" or torch.cuda.get_device_capability(device) >= FIRST_WITH_BF16


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that a device's memory did not suffice.

    Tensors run out of it in torch's allocator. What cuBLAS, cuDNN and the CUDA runtime take beside it, such
    as handles and kernels that are loaded on first use, fails with another error, in their own words.
    """
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _NO_MEMORY)


_NO_MEMORY = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", Message("CUDA error: out of memory"))


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device, without waiting for what the device is at.

    Memory that may be swapped out is copied only when a GPU has done everything that it was given before.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def empty_cache() -> None:
    """Let go of GPU memory that torch keeps for later, so that larger pieces can be had."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def unused_memory(device: torch.device) -> int:
    """Return the bytes that torch could still get on a GPU, those that it holds and does not use included."""
    import torch

    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


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


def can_compile() -> bool:
    """Return whether torch's compiler finds what it needs for a GPU: Triton and a C compiler."""
    compilers = (os.environ.get("CC"), "cc", "gcc", "clang")
    return find_spec("triton") is not None and any(name and shutil.which(name) for name in compilers)
