"""The step-0 gate: it passes what is sound and names what is not."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest
import torch
from fishtune.core.config.presets import lora_preset
from fishtune.core.errors import PreflightError
from fishtune.core.events import Log, Warned
from fishtune.core.lora.injection import add_adapters, trainable_parameters
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.stages.train.data import TrainingData, load_data
from fishtune.core.stages.train.loss import Losses
from fishtune.core.stages.train.preflight import check_losses, check_set_up

from .recorder import Recorder
from .training_kit import shards, train_settings  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def data(tiny_checkpoint: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:  # noqa: F811
    folder = tmp_path_factory.mktemp("gate")
    settings = train_settings(folder, tiny_checkpoint, shards)
    return load_data(settings, ModelDirectory.open(tiny_checkpoint), Recorder())


def adapted(base: Path, preset: str = "r_8_alpha_16", dtype: torch.dtype = torch.float32) -> DualAR:
    model = load_model(base, dtype)
    add_adapters(model, lora_preset(preset), seed=1)
    return model.train()


def run_gate(
    model: DualAR,
    data: TrainingData,
    *,
    weight: float = 1.0,
    strict: bool = False,
    reporter: Recorder | None = None,
) -> Recorder:
    reporter = reporter or Recorder()
    plan = data.sampler(batch_tokens=128, per_step=1, seed=1).epoch(0)[0]
    precision = model.norm.weight.dtype
    check_set_up(
        model, data.source, plan, weight, contextlib.nullcontext(), precision, reporter, strict=strict
    )
    return reporter


def test_losses_of_a_pretrained_model_pass() -> None:
    assert check_losses(Losses(base=4.2, semantic=3.9, top_5_accuracy=0.45), 155_776, 4096) == []


@pytest.mark.parametrize(
    ("losses", "phrases"),
    [
        (Losses(11.95, 8.32, 0.001), ["20.3", "random or wiped", "top-5 accuracy is 0.001"]),
        (Losses(13.6, 8.4, 0.002), ["first loss is 22.0", "random or wiped"]),
        (Losses(5.6, 8.1, 0.02), ["first loss is 13.7", "another codec", "top-5 accuracy is 0.020"]),
        (Losses(math.nan, 4.0, 0.5), ["first loss is nan"]),
    ],
)
def test_losses_of_known_broken_runs_fail_with_their_likely_cause(losses: Losses, phrases: list[str]) -> None:
    text = " ".join(check_losses(losses, 155_776, 4096))
    assert all(phrase in text for phrase in phrases), text


@pytest.mark.parametrize("preset", ["r_8_alpha_16", "r_16_alpha_16", "fast_r_16_alpha_16"])
@pytest.mark.parametrize(("dtype", "checkpointing"), [(torch.float32, "none"), (torch.bfloat16, "blocks")])
def test_a_sound_set_up_passes_and_stays_as_it_was(
    tiny_checkpoint: Path, data: TrainingData, preset: str, dtype: torch.dtype, checkpointing: str
) -> None:
    model = adapted(tiny_checkpoint, preset, dtype)
    model.checkpointing = checkpointing  # type: ignore[assignment]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    reporter = run_gate(model, data)
    assert not reporter.of(Warned)
    assert "Generation agrees with training" in reporter.of(Log)[0].message
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_weights_are_refused_unless_exempted(tiny_checkpoint: Path, data: TrainingData) -> None:
    with pytest.raises(PreflightError, match=r"untrained weights give .* random or wiped") as caught:
        run_gate(adapted(tiny_checkpoint), data, strict=True)
    assert "--no-gate" in caught.value.hint


def test_another_embedding_in_training_than_in_generation_is_found(
    tiny_checkpoint: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 1 of formats.md: the √(K+1) scale applied by generation only."""
    model = adapted(tiny_checkpoint)
    with torch.no_grad():  # random weights would hardly ever generate a frame
        model.get_submodule("output.base_layer").weight[: model.semantic_begin_id] = 0
    assert not run_gate(model, data).of(Warned)
    embed = model.embed

    def unscaled_where_sequences_are_whole(tokens: torch.Tensor) -> torch.Tensor:
        # One column at a time, or a prompt, is generation here; a prompt with frames behind it is not.
        x = embed(tokens)
        ends_in_frame = tokens.shape[-1] > 1 and bool(model.is_semantic(tokens[:, 0, -2:]).all())
        semantic = model.is_semantic(tokens[:, 0])[..., None]
        return torch.where(semantic, x * math.sqrt(11), x) if ends_in_frame else x

    monkeypatch.setattr(model, "embed", unscaled_where_sequences_are_whole)
    reporter = run_gate(model, data)
    assert any("Generation and training disagree" in event.message for event in reporter.of(Warned))
    with pytest.raises(PreflightError, match="Generation and training disagree"):
        run_gate(model, data, strict=True)


def test_adapters_that_get_no_gradient_are_named(
    tiny_checkpoint: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 4 of formats.md: gradients lost below a frozen embedding."""
    model = adapted(tiny_checkpoint)
    slow = model.slow
    monkeypatch.setattr(model, "slow", lambda *args, **kwargs: slow(*args, **kwargs).detach())
    message = run_gate(model, data).of(Warned)[0].message
    assert "No gradient reaches embeddings, codebook_embeddings, layers.0.attention.wqkv" in message


def test_a_part_without_weight_in_the_loss_is_named(tiny_checkpoint: Path, data: TrainingData) -> None:
    message = run_gate(adapted(tiny_checkpoint), data, weight=0.0).of(Warned)[0].message
    assert "No gradient reaches fast_" in message and "semantic loss weight of 0" in message


def test_gradients_that_are_not_finite_are_named(tiny_checkpoint: Path, data: TrainingData) -> None:
    model = adapted(tiny_checkpoint)
    name, parameter = next(iter(trainable_parameters(model).items()))
    parameter.register_hook(lambda gradient: gradient * math.nan)
    assert f"The gradient of {name} is not finite" in run_gate(model, data).of(Warned)[0].message
