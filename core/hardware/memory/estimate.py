"""How many bytes a stage needs on its device: exact sizes of tensors, and two allowances.

Tensors are counted by replaying the stage on sizes alone (`ledger`, `step`, `encoding`). What no arithmetic
gives is allowed for: the CUDA context, and what the caching allocator cannot use (fragmentation). A measured
peak (`cache`) corrects both.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from ...codec.config import CodecConfig
from ...config.presets import LoraPreset
from ...config.settings import TrainOptions
from ...model.config import DualARConfig
from .encoding import EncodingPlan, replay_encoding
from .ledger import Ledger, Part
from .step import TrainingPlan, replay_training

CONTEXT_BYTES: Final = 640 * 1024**2
"""Allowance for the CUDA context, loaded kernels and cuBLAS workspaces (32 MiB on Hopper).

An assumption: contexts of torch 2 take about 300 to 600 MiB, growing with the GPU.
"""
RESERVED_SHARE: Final = 0.1
"""Allowance for fragmentation, as a share of what comes and goes: an assumption, like the context."""

_RESIDENT: Final = (Part.WEIGHTS, Part.ADAPTERS, Part.GRADIENTS, Part.OPTIMIZER)


class MemoryEstimate(BaseModel):
    """Bytes by what they are for, at the moment when most are in use."""

    model_config = ConfigDict(frozen=True)

    parts: dict[Part, int]

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


def training_plan(
    options: TrainOptions,
    preset: LoraPreset,
    *,
    precision: Literal["bf16", "float32"] = "bf16",
    tokens: int | None = None,
    longest: int | None = None,
    frames: int | None = None,
) -> TrainingPlan:
    """Return what decides the memory of training with these settings.

    Args:
        precision: what `options.precision` comes to on the device, where that is `auto`.
        tokens: columns of the largest micro-batch; None = `options.batch_tokens`, but at least one sample.
        longest: columns of the longest sample; None = `options.max_length`.
        frames: codes learnt in the largest micro-batch; None = as many as columns, which bounds them.
    """
    longest = longest or options.max_length
    tokens = tokens or max(options.batch_tokens, longest)
    return TrainingPlan(
        tokens=tokens,
        longest=min(longest, tokens),
        frames=frames or tokens,
        method=preset.method,
        precision=precision if options.precision == "auto" else options.precision,
        # `auto` comes to this at the least; what selective checkpointing needs lies below `none`.
        checkpointing="blocks" if options.checkpointing in ("auto", "blocks") else "none",
        accumulated=options.accumulation > 1,
        rank=preset.rank,
        targets=tuple(preset.targets),
        dropout=preset.dropout > 0,
        dora=preset.use_dora,
        distributed=options.devices * options.num_nodes > 1,
    )


def training_memory(config: DualARConfig, plan: TrainingPlan) -> MemoryEstimate:
    """Return what training needs at its peak."""
    return _estimate(replay_training(config, plan))


def extraction_memory(config: CodecConfig, plan: EncodingPlan) -> MemoryEstimate:
    """Return what encoding a batch needs at its peak."""
    return _estimate(replay_encoding(config, plan))


def _estimate(ledger: Ledger) -> MemoryEstimate:
    parts = dict(ledger.peak_parts)
    varying = sum(size for part, size in parts.items() if part not in _RESIDENT)
    parts[Part.CONTEXT] = CONTEXT_BYTES
    parts[Part.RESERVE] = round(varying * RESERVED_SHARE)
    return MemoryEstimate(parts=parts)
