"""Which device a stage computes on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch


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
