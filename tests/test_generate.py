"""Generation: the reference's frames, the cache against the full forward, sampling, limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.errors import StopRequested, UsageError
from fishtune.core.lora.library import peft
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.sampling import S1Rule
from fishtune.core.model.generate import Generation, generate
from fishtune.core.model.sampling import Sampling

ModelDirectory = Callable[..., Path]
GREEDY = replace(S1.sampling, greedy=True)
IM_END = 260


def run(model: DualAR, prompt: torch.Tensor, sampling: Sampling = GREEDY, **changes: Any) -> Generation:
    """Generate with the limits of most tests."""
    limits = {"end_id": IM_END, "max_new_tokens": 12, "residual_codebook_size": 64} | changes
    return generate(model, prompt, S1Rule(sampling), **limits)


@pytest.fixture
def prompt(golden: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(golden / "generate.npz")["prompt"]).long()


@torch.no_grad()
def teacher_forced(model: DualAR, prompt: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return the argmax of every row along a path `(K+1, frames)`, by one forward without caches."""
    length = prompt.shape[1]
    hidden = model.slow(torch.cat([prompt, tokens], dim=1)[None])[0, length - 1 : -1]
    row_0 = model.token_logits(hidden).argmax(-1)
    codes = model.fast_logits(model.fast_input(hidden), tokens[1:].T).argmax(-1)
    # Code 0 follows from the token, not from the fast transformer.
    codes[:, 0] = (row_0 - model.semantic_begin_id).clamp(min=0)
    return torch.cat([row_0[None], codes.T])


def test_greedy_generation_is_that_of_the_reference(golden: Path, prompt: torch.Tensor) -> None:
    reference = np.load(golden / "generate.npz")
    limit = json.loads((golden / "generate.json").read_text(encoding="utf-8"))["max_new_tokens"]
    generation = run(load_model(golden / "base"), prompt, max_new_tokens=limit)
    np.testing.assert_array_equal(generation.tokens.numpy(), reference["sequence"][:, prompt.shape[1] :])
    assert not generation.ended


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"tie_word_embeddings": False, "attention_qkv_bias": True, "attention_qk_norm": False},
        {"fast_dim": 48, "norm_fastlayer_input": True, "fast_attention_qk_norm": True},
        {"num_codebooks": 4},
        {"num_codebooks": 1},
        {"n_local_heads": -1, "fast_n_local_heads": 1},
    ],
)
def test_cached_generation_is_the_argmax_of_the_full_forward(
    model_directory: ModelDirectory, prompt: torch.Tensor, shape: dict[str, Any]
) -> None:
    model = load_model(model_directory(**shape))
    prompt = prompt[: model.config.num_codebooks + 1]
    generation = run(model, prompt, max_new_tokens=30, end_id=-1)
    assert generation.tokens.shape == (model.config.num_codebooks + 1, 30)
    assert len(generation.tokens[0].unique()) > 3  # a model that repeats itself would prove little
    torch.testing.assert_close(teacher_forced(model, prompt, generation.tokens), generation.tokens)


def test_generation_sees_adapters_and_leaves_the_mode_alone(
    model_directory: ModelDirectory, prompt: torch.Tensor
) -> None:
    directory = model_directory(tie_word_embeddings=False)
    model = load_model(directory)
    before = run(model, prompt).tokens
    targets = r"(codebook_|fast_)?embeddings|output|(fast_)?layers\..*\.(wqkv|wo|w1|w2|w3)"
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=targets, lora_dropout=0.5), model)
    generator = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, 0, 0.2, generator=generator)
    model.train()
    generation = run(model, prompt)
    assert model.training
    assert not generation.tokens.equal(before)
    model.eval()
    torch.testing.assert_close(teacher_forced(model, prompt, generation.tokens), generation.tokens)


def test_residual_codes_stay_below_the_residual_codebook_size(
    model_directory: ModelDirectory, prompt: torch.Tensor
) -> None:
    model = load_model(model_directory())
    assert run(model, prompt).codes[1:].max() >= 8
    for sampling in (GREEDY, S1.sampling):
        assert run(model, prompt, sampling, residual_codebook_size=8).codes[1:].max() < 8


def test_generation_ends_at_im_end_and_leaves_it_out(
    model_directory: ModelDirectory, prompt: torch.Tensor
) -> None:
    model = load_model(model_directory())
    tokens = run(model, prompt).tokens
    end = tokens[0, 5].item()
    first = tokens[0].tolist().index(end)
    generation = run(model, prompt, end_id=end)
    assert generation.ended
    torch.testing.assert_close(generation.tokens, tokens[:, :first])


def test_nothing_generated_is_an_empty_matrix(model_directory: ModelDirectory, prompt: torch.Tensor) -> None:
    model = load_model(model_directory())
    end = int(run(model, prompt).tokens[0, 0])
    generation = run(model, prompt, end_id=end)
    assert generation.ended
    assert generation.codes.shape == (10, 0)


def test_the_longest_sequence_is_a_limit(model_directory: ModelDirectory, prompt: torch.Tensor) -> None:
    model = load_model(model_directory(max_seq_len=prompt.shape[1] + 3))
    generation = run(model, prompt)
    assert generation.tokens.shape[1] == 3
    assert not generation.ended
    with pytest.raises(UsageError, match="The prompt takes 73 tokens; the model holds 73"):
        run(model, torch.cat([prompt, generation.tokens], dim=1))


def test_a_seed_repeats_a_drawing_and_another_changes_it(
    model_directory: ModelDirectory, prompt: torch.Tensor
) -> None:
    model = load_model(model_directory())
    first, again, other = (run(model, prompt, S1.sampling, seed=seed).tokens for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_a_tiny_nucleus_is_the_argmax(model_directory: ModelDirectory, prompt: torch.Tensor) -> None:
    model = load_model(model_directory())
    drawn = run(model, prompt, replace(S1.sampling, top_p=1e-6, repetition_penalty=1.0))
    assert drawn.tokens.equal(run(model, prompt).tokens)


def test_drawn_shares_follow_nucleus_and_temperature(
    model_directory: ModelDirectory, prompt: torch.Tensor
) -> None:
    model = load_model(model_directory())
    with torch.no_grad():
        logits = model.token_logits(model.slow(prompt[None])[:, -1])[0]
    order = logits.argsort(descending=True)
    # A nucleus of exactly the three most probable tokens.
    top_p = float(logits.softmax(-1)[order[:3]].sum()) + 1e-4
    expected = (logits[order[:3]] / 0.05).softmax(-1)
    counts = torch.zeros(len(logits))
    sampling = replace(S1.sampling, temperature=0.05, top_p=top_p, repetition_penalty=1.0)
    for seed in range(150):
        token = run(model, prompt, sampling, seed=seed, max_new_tokens=1, end_id=-1).tokens[0, 0]
        counts[token] += 1
    assert counts[order[3:]].sum() == 0
    torch.testing.assert_close(counts[order[:3]] / 150, expected, atol=0.12, rtol=0)


def test_the_repetition_penalty_breaks_a_loop(golden: Path, prompt: torch.Tensor) -> None:
    model = load_model(golden / "base")
    # The reference model repeats itself from the eighth frame on.
    free = run(model, prompt, replace(S1.sampling, top_p=1e-6, repetition_penalty=1.0), max_new_tokens=16)
    penalised = run(
        model, prompt, replace(S1.sampling, top_p=1e-6, repetition_penalty=1e6), max_new_tokens=16
    )
    assert len(free.tokens[0].unique()) < 8
    assert len(penalised.tokens[0].unique()) == 16


def test_frames_are_counted_and_the_counter_may_stop(
    model_directory: ModelDirectory, prompt: torch.Tensor
) -> None:
    counted: list[int] = []

    def count(frames: int) -> None:
        counted.append(frames)
        if frames == 3:
            raise StopRequested("nothing")

    model = load_model(model_directory()).train()
    with pytest.raises(StopRequested):
        run(model, prompt, on_frame=count)
    assert counted == [1, 2, 3]
    assert model.training
