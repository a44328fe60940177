"""On which device a run computes, and in which precision."""

from __future__ import annotations

from typing import Final, Literal

import torch

from ...compute.devices import computes_in_bf16, resolve_device
from ...config.settings import TrainSettings
from ...errors import UsageError
from .launch import Ranks

PRECISION_NAMES: Final[dict[torch.dtype, Literal["bf16", "float32"]]] = {
    torch.bfloat16: "bf16",
    torch.float32: "float32",
}
"""As the settings have them."""


def device_of(settings: TrainSettings, ranks: Ranks) -> torch.device:
    """Return the device of this process.

    Raises:
        UsageError: one device is named for a run that has several.
        DeviceError: there is no such device.
    """
    device = resolve_device(settings.device, ranks.local_rank)
    if ranks.size > 1 and ":" in settings.device:
        raise UsageError(
            "--device {device} names one device, but the run has {size}.",
            "Choose --device cuda, and which GPUs with CUDA_VISIBLE_DEVICES.",
            device=settings.device,
            size=ranks.size,
        )
    return device


def precision_of(settings: TrainSettings, device: torch.device) -> torch.dtype:
    """Return the type of the frozen weights and of all computation.

    Raises:
        UsageError: the device does not compute in it.
    """
    if settings.precision == "float32":
        return torch.float32
    has_bf16 = computes_in_bf16(device)
    if settings.precision == "bf16":
        if not has_bf16:
            raise UsageError(
                "{device} does not compute in bf16.", "Choose --precision float32.", device=device
            )
        return torch.bfloat16
    return torch.bfloat16 if device.type == "cuda" and has_bf16 else torch.float32


def backend_of(device: torch.device) -> str:
    """Return what processes on such devices talk by."""
    return "nccl" if device.type == "cuda" and torch.distributed.is_nccl_available() else "gloo"
