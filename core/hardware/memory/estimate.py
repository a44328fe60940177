"""How many bytes a stage needs on its device: sizes of tensors, and two allowances.

Sizes come from torch's own accounting of the real modules (`profile`). What no accounting of tensors gives
is allowed for: the CUDA context, and what the caching allocator cannot use (fragmentation). A measured peak
(`measured`) corrects both.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

CONTEXT_BYTES: Final = 640 * 1024**2
"""Allowance for the CUDA context, loaded kernels and cuBLAS workspaces (32 MiB on Hopper).

An assumption: contexts of torch 2 take about 300 to 600 MiB, growing with the GPU.
"""
RESERVED_SHARE: Final = 0.1
"""Allowance for fragmentation, as a share of what comes and goes: an assumption, like the context."""


class Part(StrEnum):
    """What memory is for; the rows of the tables that people see."""

    WEIGHTS = "weights"
    ADAPTERS = "adapters"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    ACTIVATIONS = "activations kept"
    WORKING = "working memory"
    """Of the block at work: its recomputation, its intermediate results and gradients."""
    LOGITS = "logits chunk"
    FAST = "fast stack"
    CONTEXT = "CUDA context"
    RESERVE = "fragmentation reserve"


_RESIDENT: Final = (Part.WEIGHTS, Part.ADAPTERS, Part.GRADIENTS, Part.OPTIMIZER)


class MemoryEstimate(BaseModel):
    """Bytes by what they are for, at the moment when most are in use."""

    model_config = ConfigDict(frozen=True)

    parts: dict[Part, int]

    @classmethod
    def of(cls, tensors: Mapping[Part, int]) -> MemoryEstimate:
        """Return the estimate for tensors of these sizes, allowances added."""
        parts = {part: tensors.get(part, 0) for part in Part}
        varying = sum(size for part, size in parts.items() if part not in _RESIDENT)
        parts[Part.CONTEXT] = CONTEXT_BYTES
        parts[Part.RESERVE] = round(varying * RESERVED_SHARE)
        return cls(parts=parts)

    @property
    def total(self) -> int:
        """All of it, allowances included."""
        return sum(self.parts.values())

    @property
    def least(self) -> int:
        """What is needed if no memory is lost to fragmentation."""
        return self.total - self.parts[Part.RESERVE]

    @property
    def tensors(self) -> int:
        """Tensors alone."""
        return self.least - self.parts[Part.CONTEXT]

    @property
    def reserved(self) -> int:
        """What torch will have reserved (`torch.cuda.max_memory_reserved`): all but the context."""
        return self.total - self.parts[Part.CONTEXT]

    def corrected(self, factor: float) -> MemoryEstimate:
        """Return the estimate with `factor` times as much beside what is always there."""
        parts = {
            part: size if part in _RESIDENT or part is Part.CONTEXT else round(size * factor)
            for part, size in self.parts.items()
        }
        return MemoryEstimate(parts=parts)

    @property
    def varying(self) -> int:
        """What `corrected` scales."""
        return self.reserved - sum(self.parts[part] for part in _RESIDENT)
