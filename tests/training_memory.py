"""What a training step allocates on a GPU by torch's own account, without one (`memory_meter`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from fishtune.core.config.presets import LoraPreset
from fishtune.core.config.settings import Checkpointing
from fishtune.core.lora.injection import add_adapters, trainable_parameters
from fishtune.core.model.config import DualARConfig
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.stages.train import loss
from torch._subclasses.fake_tensor import FakeTensorMode

from .memory_meter import LiveStorages, gpu_kernels, make_fake

LONGEST = 1024
"""Columns of every row."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step in bfloat16."""

    resident: int
    """Weights, adapters, their gradients and the optimizer's state."""
    kept: int
    """What waits for the backward pass once the slow transformer has run."""
    peak: int
    """All of it at the moment when most is in use."""


def peak_of_step(
    config: DualARConfig, preset: LoraPreset, mode: Checkpointing, tokens: int, frames: int | None = None
) -> StepMemory:
    """Return what an optimizer step that is not the first allocates.

    Args:
        frames: columns whose codes are learnt, and supervised columns; None = three quarters of them.
    """
    with torch.device("meta"):
        model = DualAR(config, 0, config.codebook_size - 1)
    model.to(torch.bfloat16)
    add_adapters(model, preset, seed=1)
    model.checkpointing = mode
    model.train()
    chosen = frames or tokens * 3 // 4
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(), gpu_kernels(patch, chosen=chosen):
        patch.setitem(loss.FRAMES_PER_PIECE, "cpu", loss.FRAMES_PER_PIECE["cuda"])
        make_fake(model)
        storages = LiveStorages([*model.parameters(), *model.buffers()])
        parameters = list(trainable_parameters(model).values())
        optimizer = torch.optim.AdamW(parameters, fused=True)
        with storages:
            for parameter in parameters:
                parameter.grad = torch.empty_like(parameter)
            optimizer.step()  # the moments come into being
            resident = storages.live
            inputs = torch.empty(tokens // LONGEST, config.num_codebooks + 1, LONGEST, dtype=torch.int64)
            hidden = model.slow(inputs)
            kept = storages.live - resident
            del hidden
            storages.reset()
            sums = loss.loss_sums(model, inputs, torch.empty_like(inputs))
            total = (sums.base + sums.semantic) / sums.supervised
            del sums
            total.backward()  # type: ignore[no-untyped-call]
            del total
            optimizer.step()
    return StepMemory(resident, kept, storages.peak)


def s2_shape(published: dict[str, Any]) -> DualARConfig:
    """Return S2-Pro's shape from its published `config.json`."""
    slow, fast = published["text_config"], published["audio_decoder_config"]
    shared = ("n_head", "n_local_heads", "head_dim", "intermediate_size")
    shared += ("attention_qkv_bias", "attention_o_bias", "attention_qk_norm")
    alone = ("vocab_size", "dim", "n_layer", "max_seq_len", "rope_base", "norm_eps", "tie_word_embeddings")
    content = {name: slow[name] for name in (*shared, *alone)}
    content |= {f"fast_{name}": fast[name] for name in (*shared, "dim")}
    content |= {
        "codebook_size": fast["vocab_size"],
        "num_codebooks": fast["num_codebooks"],
        "n_fast_layer": fast["n_layer"],
        "scale_codebook_embeddings": True,
        "norm_fastlayer_input": True,
    }
    return DualARConfig.from_dict(content)
