"""The promise: what was trained, what generates, and what is merged compute the same, for every preset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fishtune.core.events import Reporter
from fishtune.core.merge import run as merge
from fishtune.core.model.adapters import read_adapter
from fishtune.core.model.attach import apply_checkpoint
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.generate import Sampling, generate
from fishtune.core.packing.index import ShardIndex
from fishtune.core.presets import preset_names
from fishtune.core.settings import MergeSettings
from fishtune.core.text.prompts import Turn, inference_prompt
from fishtune.core.text.tokenizer import Tokenizer
from fishtune.core.training.run import run as train

from .training_kit import (
    shards,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
)

FRAMES = 24


def greedy(model: DualAR, prompt: torch.Tensor) -> torch.Tensor:
    """Return the tokens `(K+1, frames)` that the model says, frame after frame from its cache."""
    size = model.config.codebook_size
    generation = generate(
        model, prompt, Sampling(greedy=True), end_id=-1, max_new_tokens=FRAMES, residual_codebook_size=size
    )
    return generation.tokens


@torch.no_grad()
def teacher_forced(model: DualAR, prompt: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the argmax of every row along a path, by the forward of training: all columns at once."""
    hidden = model.slow(torch.cat([prompt, tokens], dim=1)[None])[0, prompt.shape[1] - 1 : -1]
    row_0 = model.token_logits(hidden).argmax(-1)
    codes = model.fast_logits(model.fast_input(hidden), tokens[1:].T).argmax(-1)
    # Code 0 follows from the token, not from the fast transformer.
    codes[:, 0] = (row_0 - model.semantic_begin_id).clamp(0, model.config.codebook_size - 1)
    return torch.cat([row_0[None], codes.T])


@pytest.mark.parametrize("preset", preset_names("lora"))
def test_adapter_merged_weights_and_the_forward_of_training_agree_code_for_code(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    preset: str,
) -> None:
    settings = train_settings(
        tmp_path, small_base, shards, lora_config=preset, max_steps=8, learning_rate=2e-2
    )
    checkpoint = train(settings, Reporter()).checkpoint
    output = tmp_path / "merged"
    result = merge(MergeSettings(base_weight=small_base, lora_weight=checkpoint, output=output), Reporter())
    assert result.verification.effect.relative_difference > 0.05
    assert result.verification.arithmetic.relative_difference < 1e-4

    adapted = load_model(small_base)
    apply_checkpoint(adapted, read_adapter(checkpoint))
    merged = load_model(output)
    tokenizer, index = Tokenizer.from_directory(small_base), ShardIndex.open(shards)
    sentence = index.read(0)
    reference = Turn(sentence.texts[0], np.asarray(sentence.codes))
    for text in ("Something else.", index.read(3).texts[0]):
        prompt = torch.from_numpy(inference_prompt(tokenizer, [reference], text, 10))
        tokens = greedy(adapted, prompt)
        assert greedy(merged, prompt).equal(tokens)
        assert teacher_forced(adapted, prompt, tokens).equal(tokens)
        assert teacher_forced(merged, prompt, tokens).equal(tokens)
        assert not greedy(load_model(small_base), prompt).equal(tokens)
