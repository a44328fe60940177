"""Predicted training memory against what torch allocates for the real modules, loss and optimizer."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from fishtune.core.config.presets import LoraPreset, lora_preset, model_preset
from fishtune.core.config.settings import TrainOptions
from fishtune.core.hardware.memory.estimate import CONTEXT_BYTES, training_memory, training_plan
from fishtune.core.hardware.memory.ledger import Part
from fishtune.core.hardware.memory.shapes import adapted, modules
from fishtune.core.hardware.memory.step import LOGITS_PER_CHUNK, TrainingPlan, replay_training
from fishtune.core.lora.injection import add_adapters, train_everything, trainable_parameters
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.shape import Shape
from fishtune.core.stages.train import loss
from torch._subclasses.fake_tensor import FakeTensorMode

from .memory_meter import LiveStorages, gpu_kernels, make_fake

S1_MINI = model_preset("openaudio-s1-mini").config


def shape(**changes: object) -> Shape:
    """Return S1-mini's shape with changes."""
    return S1().read_shape(S1_MINI | changes, "config.json")


def shallow(**changes: object) -> Shape:
    """Return S1-mini's layers, but few of them."""
    return shape(**{"n_layer": 3, "n_fast_layer": 2, "vocab_size": 20_000} | changes)


def build(config: Shape, preset: LoraPreset, plan: TrainingPlan) -> DualAR:
    """Return the model as `training.run` prepares it, on the meta device."""
    with torch.device("meta"):
        model = DualAR(config, 0, config.codebook_size - 1)
    if preset.method == "full":
        train_everything(model)
    else:
        model.to(torch.bfloat16 if plan.precision == "bf16" else torch.float32)
        add_adapters(model, preset, seed=1)
    model.checkpointing = plan.checkpointing
    return model.train()


def measured(config: Shape, preset: LoraPreset, plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the peak of one optimizer step that is not the first, bytes."""
    model = build(config, preset, plan)
    autocast = preset.method == "full" and plan.precision == "bf16"
    with FakeTensorMode(), gpu_kernels(monkeypatch, chosen=plan.frames):
        make_fake(model)
        storages = LiveStorages([*model.parameters(), *model.buffers()])
        parameters = list(trainable_parameters(model).values())
        optimizer = torch.optim.AdamW(parameters, fused=True)
        with storages:
            for parameter in parameters:
                parameter.grad = torch.empty_like(parameter)
            optimizer.step()  # the moments come into being
            optimizer.zero_grad()
            storages.reset()
            with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
                for _ in range(2 if plan.accumulated else 1):
                    columns = plan.tokens // plan.longest, config.num_codebooks + 1, plan.longest
                    tokens = torch.empty(columns, dtype=torch.int64)
                    sums = loss.loss_sums(model, tokens, torch.empty_like(tokens))
                    total = (sums.base + 0.3 * sums.semantic) / sums.supervised
                    del sums, tokens
                    total.backward()
                    del total
                optimizer.step()
                optimizer.zero_grad()
    return storages.peak


def plan_of(preset: LoraPreset, tokens: int = 1024, longest: int = 256, **changes: object) -> TrainingPlan:
    options = TrainOptions(
        accumulation=2 if changes.pop("accumulated", False) else 1,
        precision=changes.pop("precision", "bf16"),
        checkpointing=changes.pop("checkpointing", "blocks"),
    )
    assert not changes
    return training_plan(options, preset, tokens=tokens, longest=longest, frames=tokens * 3 // 4)


def check(
    config: Shape,
    preset: LoraPreset,
    plan: TrainingPlan,
    monkeypatch: pytest.MonkeyPatch,
    tolerance: float,
) -> None:
    predicted = training_memory(config, plan).tensors
    actual = measured(config, preset, plan, monkeypatch)
    print(f"predicted {predicted:,}, torch {actual:,}: {predicted / actual - 1:+.1%}")
    assert predicted == pytest.approx(actual, rel=tolerance)


@pytest.mark.parametrize(
    ("preset", "checkpointing", "tokens", "longest"),
    [
        ("r_16_alpha_16", "none", 2048, 512),
        ("r_8_alpha_16", "blocks", 4096, 256),
    ],
)
def test_at_the_true_shape_the_prediction_is_within_ten_percent(
    preset: str, checkpointing: str, tokens: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(lora_preset(preset), tokens, longest, checkpointing=checkpointing)
    check(shape(), lora_preset(preset), plan, monkeypatch, tolerance=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", ["r_8_alpha_16", "r_16_alpha_16", "r_64_alpha_64", "fast_r_16_alpha_16", "full"]
)
@pytest.mark.parametrize("checkpointing", ["none", "blocks"])
@pytest.mark.parametrize(("tokens", "longest"), [(256, 256), (2048, 512), (16384, 2048)])
def test_at_the_true_shape_every_preset_is_within_ten_percent(
    preset: str, checkpointing: str, tokens: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(lora_preset(preset), tokens, longest, checkpointing=checkpointing)
    check(shape(), lora_preset(preset), plan, monkeypatch, tolerance=0.1)


ALL = lora_preset("r_8_alpha_16")
SLOW = lora_preset("r_16_alpha_16")
FULL = lora_preset("full")
ONE_LAYER = SLOW.model_copy(update={"targets": [r"layers\.1\.attention\.wqkv"]})
HEAD_ONLY = SLOW.model_copy(update={"targets": ["fast_output"]})
NO_DROPOUT = SLOW.model_copy(update={"dropout": 0.0})
DORA = SLOW.model_copy(update={"use_dora": True})
DORA_NO_DROPOUT = DORA.model_copy(update={"dropout": 0.0})


@pytest.mark.parametrize(
    ("config", "preset", "changes"),
    [
        pytest.param(shallow(), SLOW, {"checkpointing": "none"}, id="kept"),
        pytest.param(shallow(), SLOW, {"checkpointing": "blocks"}, id="recomputed"),
        pytest.param(shallow(), ALL, {"checkpointing": "none"}, id="all-modules"),
        pytest.param(shallow(), NO_DROPOUT, {"checkpointing": "none"}, id="no-dropout"),
        pytest.param(shallow(), ONE_LAYER, {"checkpointing": "none"}, id="one-layer-of-three"),
        pytest.param(shallow(), HEAD_ONLY, {"checkpointing": "none"}, id="only-a-head"),
        pytest.param(shallow(), DORA, {"checkpointing": "none"}, id="dora"),
        pytest.param(shallow(), DORA_NO_DROPOUT, {"checkpointing": "blocks"}, id="dora-no-dropout"),
        pytest.param(shallow(), SLOW, {"precision": "float32", "checkpointing": "none"}, id="float32"),
        pytest.param(shallow(), SLOW, {"tokens": 2048, "longest": 2048}, id="one-long-clip"),
        pytest.param(shallow(), FULL, {"checkpointing": "none"}, id="full"),
        pytest.param(shallow(), FULL, {"tokens": 8192}, id="full-recomputed"),
        pytest.param(shallow(), FULL, {"accumulated": True}, id="full-accumulated"),
        pytest.param(shallow(), FULL, {"precision": "float32"}, id="full-float32"),
        pytest.param(shallow(tie_word_embeddings=True), SLOW, {}, id="tied"),
        pytest.param(
            shallow(fast_dim=512, fast_head_dim=32, norm_fastlayer_input=True), ALL, {}, id="narrow-fast"
        ),
        pytest.param(
            shallow(attention_qk_norm=False, attention_qkv_bias=True, num_codebooks=4),
            SLOW,
            {},
            id="no-qk-norm",
        ),
        pytest.param(shallow(n_local_heads=16, scale_codebook_embeddings=False), SLOW, {}, id="no-groups"),
    ],
)
def test_other_shapes_and_settings_are_within_five_percent(
    config: Shape, preset: LoraPreset, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    check(config, preset, plan_of(preset, **changes), monkeypatch, tolerance=0.05)


@pytest.mark.parametrize(
    "config", [shape(), shallow(tie_word_embeddings=True, fast_dim=512, attention_qkv_bias=True)]
)
def test_weights_are_counted_exactly(config: Shape) -> None:
    with torch.device("meta"):
        model = DualAR(config, 0, 1)
    assert sum(module.weights for module in modules(config)) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("preset", [ALL, SLOW, DORA])
def test_adapters_are_counted_exactly(preset: LoraPreset) -> None:
    model = build(shallow(), preset, plan_of(preset))
    counted = sum(
        module.adapter_weights(preset.rank, preset.use_dora)
        for module in adapted(shallow(), tuple(preset.targets))
    )
    assert counted == sum(weight.numel() for weight in trainable_parameters(model).values())


def test_the_size_of_a_chunk_of_logits_is_the_loss_functions_own() -> None:
    assert LOGITS_PER_CHUNK == loss.LOGITS_PER_CHUNK


def test_parts_add_up_and_nothing_is_left_over() -> None:
    estimate = training_memory(shape(), plan_of(SLOW))
    peak = replay_training(shape(), plan_of(SLOW)).peak
    assert estimate.tensors == peak, "the parts are those of the moment of the peak"
    assert estimate.total == peak + CONTEXT_BYTES + estimate.parts[Part.RESERVE]
    assert estimate.parts[Part.WEIGHTS] == pytest.approx(2 * 860e6, rel=0.01)
    assert all(size >= 0 for size in estimate.parts.values())


def test_more_of_anything_never_needs_less() -> None:
    base = plan_of(SLOW, 4096, 512)
    need = training_memory(shape(), base).total
    assert training_memory(shape(), replace(base, tokens=8192)).total > need
    assert training_memory(shape(), replace(base, frames=4096)).total > need
    assert training_memory(shape(), replace(base, rank=64)).total > need
    assert training_memory(shape(), replace(base, checkpointing="none")).total > need
    assert training_memory(shape(), replace(base, method="full")).total > need


def test_several_processes_hold_a_second_copy_of_their_gradients() -> None:
    alone = training_memory(shape(), plan_of(FULL))
    together = training_memory(shape(), replace(plan_of(FULL), distributed=True))
    weights = sum(module.weights for module in modules(shape()))
    assert together.parts[Part.GRADIENTS] - alone.parts[Part.GRADIENTS] == 4 * weights
    options = TrainOptions(devices=2)
    assert training_plan(options, FULL).distributed
    assert not training_plan(TrainOptions(), FULL).distributed


def test_a_correction_scales_what_comes_and_goes() -> None:
    estimate = training_memory(shape(), plan_of(SLOW))
    corrected = estimate.corrected(1.5)
    assert corrected.parts[Part.WEIGHTS] == estimate.parts[Part.WEIGHTS]
    assert corrected.varying == pytest.approx(1.5 * estimate.varying, rel=1e-6)
