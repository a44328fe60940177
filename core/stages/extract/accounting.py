"""The real codec encoding a batch of tensors without content, accounted by torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...codec.codec import CodecEncoder
from ...hardware.memory.accounting import Accounting, gpu_kernels
from ...hardware.memory.estimate import Part
from ...hardware.memory.profile import Moments
from ...hardware.memory.setups import EncodingBatch, EncodingSetup

Measure = Callable[[EncodingBatch], Moments]


def encoding_accounting(setup: EncodingSetup) -> Measure:
    """Return a function that gives the moments of encoding a batch; workspaces of cuDNN are not counted."""
    with torch.device("meta"):
        codec = CodecEncoder(setup.codec).requires_grad_(False)
    codec.to("meta")  # its tables are made on the CPU
    resident: dict[Part, list[torch.Tensor]] = {Part.WEIGHTS: [*codec.parameters(), *codec.buffers()]}

    def measure(batch: EncodingBatch) -> Moments:
        accounting = Accounting(resident)
        with gpu_kernels(), accounting:
            codec.encode(torch.empty(batch.clips, 1, batch.samples, device="meta"))
        return accounting.moments

    return measure
