"""What a training step keeps and allocates in bfloat16, by torch's own account of the real modules."""

from __future__ import annotations

import pytest
from fishtune.core.config.presets import lora_preset, model_preset
from fishtune.core.config.settings import Checkpointing
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.shape import Shape

from .training_memory import peak_of_step, s2_shape

GIB = 1 << 30
S1_MINI = model_preset("openaudio-s1-mini").config
LAYERS = 28
S2_PRO = s2_shape(
    {
        "text_config": {
            **{"n_head": 32, "n_local_heads": 8, "head_dim": 128, "intermediate_size": 9728, "dim": 2560},
            **{"attention_qkv_bias": False, "attention_o_bias": False, "attention_qk_norm": True},
            **{"vocab_size": 155_776, "n_layer": 36, "max_seq_len": 32_768, "rope_base": 1_000_000},
            **{"norm_eps": 1e-6, "tie_word_embeddings": True},
        },
        "audio_decoder_config": {
            **{"n_head": 32, "n_local_heads": 8, "head_dim": 128, "intermediate_size": 9728, "dim": 2560},
            **{"attention_qkv_bias": False, "attention_o_bias": False, "attention_qk_norm": False},
            **{"vocab_size": 4096, "num_codebooks": 10, "n_layer": 4},
        },
    }
)


def shallow(layers: int) -> Shape:
    """Return S1-mini's layers, but few of them."""
    return S1().read_shape(
        S1_MINI | {"n_layer": layers, "n_fast_layer": 2, "vocab_size": 20_000}, "config.json"
    )


@pytest.mark.parametrize(("mode", "limit"), [("none", 1.5), ("selective", 1.0), ("blocks", 0.1)])
def test_what_a_token_keeps_in_the_slow_transformer_stays_below_its_limit(
    mode: Checkpointing, limit: float
) -> None:
    tokens = 2048
    one, two = (
        peak_of_step(shallow(n), lora_preset("r_16_alpha_16"), mode, tokens).kept / tokens for n in (1, 2)
    )
    assert one + (LAYERS - 1) * (two - one) <= limit * 1e6


@pytest.mark.parametrize("mode", ["none", "blocks"])
def test_more_frames_need_no_more_memory_than_their_hidden_states(mode: Checkpointing) -> None:
    preset = lora_preset("r_8_alpha_16")
    some, many = (peak_of_step(shallow(1), preset, mode, 8192, frames).peak for frames in (1024, 8192))
    # A frame's hidden state, its gradient and its codes; a block of the fast stack keeps 450 kB of a frame.
    assert many - some <= 7168 * 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "preset", "mode", "tokens", "limit"),
    [
        (S1().read_shape(S1_MINI, "config.json"), "r_16_alpha_16", "none", 8192, 17 * GIB),
        (S1().read_shape(S1_MINI, "config.json"), "r_8_alpha_16", "none", 8192, 17 * GIB),
        (S1().read_shape(S1_MINI, "config.json"), "r_8_alpha_16", "blocks", 8192, 9.5 * GIB),
        (S2_PRO, "r_16_alpha_16", "blocks", 4096, 13.5e9),
        (S2_PRO, "r_16_alpha_16", "blocks", 2048, 11.5e9),
    ],
    ids=["24 GB card", "24 GB card, all modules", "recomputed", "S2-Pro", "S2-Pro, short"],
)
def test_a_step_at_the_true_shape_fits(
    config: Shape, preset: str, mode: Checkpointing, tokens: int, limit: float
) -> None:
    assert peak_of_step(config, lora_preset(preset), mode, tokens).peak <= limit
