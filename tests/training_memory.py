"""What a training step takes on a GPU by torch's account of the real modules, without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fishtune.core.config.presets import LoraPreset
from fishtune.core.config.settings import Checkpointing, TrainOptions
from fishtune.core.hardware.memory.estimate import Part
from fishtune.core.hardware.memory.setups import TrainingBatch, TrainingSetup
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.shape import Shape
from fishtune.core.stages.accounting import accounting_of

LONGEST = 1024
"""Columns of every row."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step in bfloat16."""

    kept: int
    """What waits for the backward pass once the slow transformer has run."""
    peak: int
    """All that is there at the moment when most is in use."""


def peak_of_step(
    config: Shape, preset: LoraPreset, mode: Checkpointing, tokens: int, frames: int | None = None
) -> StepMemory:
    """Return what an optimizer step that is not the first takes.

    Args:
        frames: columns whose codes are learnt, and supervised columns; None = three quarters of them.
    """
    setup = TrainingSetup.of(config, TrainOptions(precision="bf16", checkpointing=mode), preset)
    moments = accounting_of(setup)(TrainingBatch(tokens, LONGEST, frames or tokens * 3 // 4))
    return StepMemory(
        kept=moments[Part.FAST][Part.ACTIVATIONS],
        peak=max(sum(parts.values()) for parts in moments.values()),
    )


def s2_shape(published: dict[str, Any]) -> Shape:
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
    return S1().read_shape(content, "config.json")
