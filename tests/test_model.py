"""The DualAR model and its file format: the reference's numbers, and shapes the reference does not have."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.compute.layers import rotary_table
from fishtune.core.errors import CheckpointError
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families import read_configuration
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.weights import save_model
from torch.nn import functional as F

ModelDirectory = Callable[..., Path]
SHAPES: dict[str, dict[str, Any]] = {
    "untied": {"tie_word_embeddings": False},
    "other fast dim": {"fast_dim": 48},
    "normalised fast input": {"norm_fastlayer_input": True},
    "biases": {"attention_qkv_bias": True, "attention_o_bias": True, "fast_attention_o_bias": False},
    "fast qk-norm only": {"attention_qk_norm": False, "fast_attention_qk_norm": True},
    "4 codebooks": {"num_codebooks": 4},
    "1 codebook": {"num_codebooks": 1},
    "all heads have keys": {"n_local_heads": -1, "fast_n_local_heads": -1},
    "no head_dim": {"head_dim": None, "dim": 64, "fast_dim": 32},
}


def random_tokens(model: DualAR, columns: int, seed: int = 0) -> torch.Tensor:
    """Return a batch of one sequence `(1, K+1, T)`, the later half of it semantic."""
    generator = torch.Generator().manual_seed(seed)
    codebooks, size = model.config.num_codebooks, model.config.codebook_size
    tokens = torch.zeros(1, codebooks + 1, columns, dtype=torch.int64)
    tokens[:, 0] = torch.randint(256, (1, columns), generator=generator)
    half = columns // 2
    tokens[:, 1:, half:] = torch.randint(size, (1, codebooks, columns - half), generator=generator)
    tokens[:, 0, half:] = tokens[:, 1, half:] + model.semantic_begin_id
    return tokens


@pytest.mark.parametrize("scaled", [True, False])
@torch.no_grad()
def test_logits_and_losses_are_those_of_the_reference(golden: Path, scaled: bool) -> None:
    model = load_model(golden / "base")
    model.config = dataclasses.replace(model.config, scale_codebook_embeddings=scaled)
    reference = np.load(golden / "dual_ar.npz")
    prefix = "" if scaled else "noscale_"
    labels = torch.from_numpy(reference["labels"])[0]

    hidden = model.slow(torch.from_numpy(reference["inputs"]))[0]
    token_logits = model.token_logits(hidden)
    semantic = model.is_semantic(labels[0])
    codes = labels[1:, semantic].T
    codebook_logits = model.fast_logits(model.fast_input(hidden)[semantic], codes)

    def assert_equal(value: torch.Tensor, name: str) -> None:
        torch.testing.assert_close(value, torch.from_numpy(reference[name]), atol=1e-4, rtol=0)

    assert_equal(token_logits, f"{prefix}token_logits")
    assert_equal(codebook_logits, f"{prefix}codebook_logits")
    assert_equal(F.cross_entropy(token_logits, labels[0]), f"{prefix}base_loss")
    assert_equal(F.cross_entropy(codebook_logits.flatten(0, 1), codes.flatten()), f"{prefix}semantic_loss")
    if scaled:
        assert_equal(model.fast_input(hidden), "fast_input")


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_every_shape_equals_the_formulas_written_out(model_directory: ModelDirectory, shape: str) -> None:
    model = load_model(model_directory(**SHAPES[shape]))
    tokens = random_tokens(model, 12)
    hidden = model.slow(tokens)[0]
    codes = tokens[0, 1:, 6:].T

    weights = model.state_dict()
    expected_hidden = _slow_by_the_book(weights, model, tokens[0])
    torch.testing.assert_close(hidden, expected_hidden, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        model.token_logits(hidden),
        _token_logits_by_the_book(weights, model, expected_hidden),
        atol=1e-4,
        rtol=0,
    )
    torch.testing.assert_close(
        model.fast_logits(model.fast_input(hidden[5:11]), codes),
        _fast_logits_by_the_book(weights, model, expected_hidden[5:11], codes),
        atol=1e-4,
        rtol=0,
    )


# formats.md section 2, one column and one head at a time: slow, and written without the model's own layers.


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight


def _blocks(weights: dict[str, torch.Tensor], prefix: str, model: DualAR, x: torch.Tensor) -> torch.Tensor:
    config = model.config.fast if prefix == "fast_layers" else model.config.slow
    size, groups = config.head_dim, config.n_head // config.n_local_heads
    for layer in range(config.n_layer):
        own = {
            name.removeprefix(f"{prefix}.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"{prefix}.{layer}.")
        }
        normed = _norm(x, own["attention_norm.weight"], config.norm_eps)
        qkv = normed @ own["attention.wqkv.weight"].T + own.get("attention.wqkv.bias", 0)
        heads = qkv.reshape(len(x), -1, size)
        outputs = []
        for head in range(config.n_head):
            group = head // groups
            q = heads[:, head]
            k = heads[:, config.n_head + group]
            v = heads[:, config.n_head + config.n_local_heads + group]
            if config.qk_norm:
                q = _norm(q, own["attention.q_norm.weight"], config.norm_eps)
                k = _norm(k, own["attention.k_norm.weight"], config.norm_eps)
            q, k = _turned(q, config.rope_base), _turned(k, config.rope_base)
            scores = q @ k.T / size**0.5
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            outputs.append(scores.softmax(-1) @ v)
        x = x + torch.cat(outputs, -1) @ own["attention.wo.weight"].T + own.get("attention.wo.bias", 0)
        normed = _norm(x, own["ffn_norm.weight"], config.norm_eps)
        gated = F.silu(normed @ own["feed_forward.w1.weight"].T) * (normed @ own["feed_forward.w3.weight"].T)
        x = x + gated @ own["feed_forward.w2.weight"].T
    return x


def _turned(x: torch.Tensor, base: float) -> torch.Tensor:
    turned = torch.empty_like(x)
    for i in range(x.shape[1] // 2):
        angles = torch.arange(len(x)) * base ** (-2 * i / x.shape[1])
        cos, sin = angles.cos().bfloat16().float(), angles.sin().bfloat16().float()
        turned[:, 2 * i] = x[:, 2 * i] * cos - x[:, 2 * i + 1] * sin
        turned[:, 2 * i + 1] = x[:, 2 * i + 1] * cos + x[:, 2 * i] * sin
    return turned


def _slow_by_the_book(weights: dict[str, torch.Tensor], model: DualAR, tokens: torch.Tensor) -> torch.Tensor:
    columns = []
    for column in tokens.T.tolist():
        x = weights["embeddings.weight"][column[0]]
        if column[0] >= model.semantic_begin_id:
            for codebook, code in enumerate(column[1:]):
                x = x + weights["codebook_embeddings.weight"][code + codebook * model.config.codebook_size]
            x = x / (len(column)) ** 0.5
        columns.append(x)
    return _blocks(weights, "layers", model, torch.stack(columns))


def _token_logits_by_the_book(
    weights: dict[str, torch.Tensor], model: DualAR, hidden: torch.Tensor
) -> torch.Tensor:
    head = weights["embeddings.weight" if model.config.tie_word_embeddings else "output.weight"]
    return _norm(hidden, weights["norm.weight"], model.config.norm_eps) @ head.T


def _fast_logits_by_the_book(
    weights: dict[str, torch.Tensor], model: DualAR, hidden: torch.Tensor, codes: torch.Tensor
) -> torch.Tensor:
    if model.config.norm_fastlayer_input:
        hidden = _norm(hidden, weights["norm.weight"], model.config.norm_eps)
    if "fast_project_in.weight" in weights:
        hidden = hidden @ weights["fast_project_in.weight"].T + weights["fast_project_in.bias"]
    logits = []
    for x, frame in zip(hidden, codes, strict=True):
        inputs = torch.stack([x, *weights["fast_embeddings.weight"][frame[:-1]]])
        outputs = _blocks(weights, "fast_layers", model, inputs)
        normed = _norm(outputs, weights["fast_norm.weight"], model.config.norm_eps)
        logits.append(normed @ weights["fast_output.weight"].T)
    return torch.stack(logits)


def test_checkpointing_changes_no_gradient(model_directory: ModelDirectory) -> None:
    model = load_model(model_directory(tie_word_embeddings=False)).train()
    tokens = random_tokens(model, 12)
    gradients = {}
    for mode in ("none", "selective", "blocks"):
        model.checkpointing = mode  # type: ignore[assignment]
        model.zero_grad()
        hidden = model.slow(tokens)[0]
        codes = tokens[0, 1:, 6:].T
        loss = model.token_logits(hidden).square().mean()
        loss = loss + model.fast_logits(model.fast_input(hidden[5:11]), codes).square().mean()
        loss.backward()
        gradients[mode] = {name: weight.grad for name, weight in model.named_parameters()}
    assert all(gradient is not None for gradient in gradients["none"].values())
    torch.testing.assert_close(gradients["none"], gradients["blocks"])
    torch.testing.assert_close(gradients["none"], gradients["selective"])


def test_rotary_tables_are_rounded_to_bfloat16() -> None:
    table = rotary_table(8, 4, 10000.0)
    assert table.shape == (8, 2, 2)
    assert table.dtype == torch.bfloat16
    assert table[3, 1].tolist() == [1.0, 0.030029296875]  # cos and sin of 0.03


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("prefix", ["model.", ""])
@torch.no_grad()
def test_wrapper_prefix_foreign_keys_and_split_attention_change_nothing(
    model_directory: ModelDirectory, wrapped: bool, prefix: str
) -> None:
    directory = model_directory(attention_qkv_bias=True)
    model = load_model(directory)
    tokens = random_tokens(model, 8)
    expected = model.slow(tokens)

    stored: dict[str, torch.Tensor] = {f"{prefix}audio_projector.weight": torch.zeros(2)}
    for name, tensor in model.state_dict().items():
        if ".wqkv." in name:
            rows = (64, 32, 32)
            for letter, part in zip("qkv", tensor.split(rows), strict=True):
                stored[prefix + name.replace(".wqkv.", f".w{letter}.")] = part.clone()
        else:
            stored[prefix + name] = tensor.clone()
    torch.save({"state_dict": stored} if wrapped else stored, directory / "model.pth")
    torch.testing.assert_close(load_model(directory).slow(tokens), expected, rtol=0, atol=0)


def test_a_saved_model_loads_as_it_was(model_directory: ModelDirectory) -> None:
    directory = model_directory(fast_dim=48)
    model = load_model(directory)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_model(model, directory)
    torch.testing.assert_close(dict(load_model(directory).state_dict()), expected, rtol=0, atol=0)


def test_weights_keep_their_type_unless_another_is_asked_for(model_directory: ModelDirectory) -> None:
    directory = model_directory()
    half = {name: tensor.bfloat16() for name, tensor in torch.load(directory / "model.pth").items()}
    torch.save(half, directory / "model.pth")
    assert {weight.dtype for weight in load_model(directory).parameters()} == {torch.bfloat16}
    model = load_model(directory, dtype=torch.float32)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_missing_unexpected_and_misshaped_weights_are_in_one_error(model_directory: ModelDirectory) -> None:
    directory = model_directory()
    weights = torch.load(directory / "model.pth")
    del weights["norm.weight"]
    weights["layers.0.attention.wq.weight"] = torch.zeros(64, 32)
    weights["fast_output.weight"] = torch.zeros(63, 32)
    torch.save(weights, directory / "model.pth")
    with pytest.raises(CheckpointError) as caught:
        load_model(directory)
    assert "1 missing: norm.weight" in caught.value.message
    assert "1 unexpected: layers.0.attention.wq.weight" in caught.value.message
    assert "fast_output.weight is (63, 32) instead of (64, 32)" in caught.value.message


def test_defaults_of_absent_keys() -> None:
    config = S1().read_shape({}, "config.json")
    assert (config.vocab_size, config.dim, config.n_layer, config.n_head) == (32000, 4096, 32, 32)
    assert (config.n_local_heads, config.head_dim, config.intermediate_size) == (32, 64, 11008)
    assert (config.norm_eps, config.rope_base, config.max_seq_len) == (1e-5, 10000, 2048)
    assert config.tie_word_embeddings and not config.scale_codebook_embeddings
    assert (config.codebook_size, config.num_codebooks, config.n_fast_layer) == (160, 4, 4)
    assert (config.fast_dim, config.fast_n_head, config.fast_head_dim) == (4096, 32, 64)
    assert S1().read_shape({"head_dim": None}, "config.json").head_dim == 128


def test_unknown_keys_change_nothing(golden: Path) -> None:
    content = json.loads((golden / "base/config.json").read_text(encoding="utf-8"))
    assert S1().read_shape(content | {"made_by": "me"}, "config.json") == S1().read_shape(
        content, "config.json"
    )


def test_all_wrong_values_of_a_config_are_in_one_error() -> None:
    content = {"dim": "big", "n_layer": 0, "tie_word_embeddings": 1, "fast_head_dim": 64.0}
    with pytest.raises(CheckpointError, match=r"here/config\.json has 4 problems: ") as caught:
        S1().read_shape(content, "here/config.json")
    for part in ("dim: ", "'big'", "n_layer: ", "value is 0", "tie_word_embeddings: ", "fast_head_dim: "):
        assert part in caught.value.message


def test_all_sizes_that_contradict_one_another_are_in_one_error() -> None:
    content = {"n_head": 4, "n_local_heads": 3, "fast_head_dim": 63}
    with pytest.raises(CheckpointError) as caught:
        S1().read_shape(content, "here/config.json")
    for part in ("n_head 4 is not a multiple of n_local_heads 3", "fast_head_dim 63 is odd"):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "does not hold settings"),
        ('{"model_type": "llama"}', "'llama'"),
        (None, "cannot be read"),
    ],
)
def test_broken_configs_are_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_configuration(tmp_path)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(model_directory: ModelDirectory) -> None:
    directory = model_directory()
    (directory / "special_tokens.json").unlink()
    with pytest.raises(CheckpointError, match="4367 tokens for a vocab_size of 336"):
        load_model(directory)
