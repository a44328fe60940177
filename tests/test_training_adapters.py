"""Adapters: which modules get one, what they are made of, and that peft loads them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fishtune.core.config.presets import LoraPreset, lora_preset, preset_names
from fishtune.core.errors import SettingsError
from fishtune.core.lora.injection import (
    add_adapters,
    matching_modules,
    save_adapter,
    train_everything,
    trainable_parameters,
)
from fishtune.core.lora.library import peft
from fishtune.core.model.checkpoint import load_model
from fishtune.core.stages.train.loss import loss_sums

from .training_kit import make_batch

SLOW = ["layers.0.attention.wqkv", "layers.0.attention.wo"]


def preset(*targets: str, **changes: object) -> LoraPreset:
    values = {"description": "", "rank": 4, "alpha": 8, "targets": list(targets)}
    return LoraPreset.model_validate(values | changes)


@pytest.mark.parametrize("name", [name for name in preset_names("lora") if name != "full"])
def test_every_preset_fits_a_real_model(tiny_checkpoint: Path, name: str) -> None:
    model = load_model(tiny_checkpoint)
    names = add_adapters(model, lora_preset(name), seed=1)
    owners = {each.partition(".lora_")[0] for each in trainable_parameters(model)}
    assert owners == set(names)
    if name not in ("r_8_alpha_16", "fast_r_16_alpha_16", "fast_only"):
        assert all(each.startswith("layers.") for each in names), (
            "recommended presets leave the codec's side alone"
        )


def test_targets_match_whole_names_only(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    names = matching_modules(model, preset(r"layers\.0\.attention\.(wqkv|wo)"))
    assert names == SLOW
    assert matching_modules(model, preset("output")) == ["output"]


def test_a_target_that_matches_nothing_is_an_error_that_names_it(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint)
    with pytest.raises(SettingsError, match=r"'layers\\\\.0\\\\.attn' matches no linear or embedding layer"):
        matching_modules(model, preset(r"layers\.0\.attention\.wo", r"layers\.0\.attn"))
    with pytest.raises(SettingsError, match="matches no linear or embedding layer"):
        matching_modules(model, preset(r"layers\.0\.attention"))  # a container, not a layer
    with pytest.raises(SettingsError, match="is not a regular expression"):
        matching_modules(model, preset("layers("))


def test_an_adapter_on_a_tied_embedding_is_refused_with_the_reason(
    model_directory: Callable[..., Path],
) -> None:
    model = load_model(model_directory(tie_word_embeddings=True))
    with pytest.raises(SettingsError, match="output head too"):
        add_adapters(model, preset("embeddings"), seed=1)
    add_adapters(model, preset("codebook_embeddings"), seed=1)


def test_adapters_are_float32_over_a_frozen_bf16_base(tiny_checkpoint: Path) -> None:
    model = load_model(tiny_checkpoint, torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    add_adapters(model, lora_preset("r_8_alpha_16"), seed=1)
    trained = trainable_parameters(model)
    assert trained and all(parameter.dtype == torch.float32 for parameter in trained.values())
    batch = make_batch(tiny_checkpoint)
    sums = loss_sums(model.train(), batch.tokens, batch.labels)
    (sums.base + sums.semantic).backward()
    assert all(parameter.grad is not None for parameter in trained.values())
    for name, tensor in before.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        now = getattr(getattr(module, "base_layer", module), leaf)
        assert torch.equal(now, tensor) and not now.requires_grad and now.dtype == torch.bfloat16, name


def test_adapters_begin_as_the_same_ones_for_a_seed_and_change_nothing_yet(tiny_checkpoint: Path) -> None:
    batch = make_batch(tiny_checkpoint)
    plain = load_model(tiny_checkpoint, torch.float32)
    torch.manual_seed(5)
    one, two, other = (load_model(tiny_checkpoint, torch.float32) for _ in range(3))
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        torch.rand(3)  # whatever was drawn before
        add_adapters(model, lora_preset("r_8_alpha_16"), seed)
        model.eval()
    with torch.no_grad():
        expected = plain.slow(batch.tokens)
        assert torch.equal(one.slow(batch.tokens), expected)
    weights = [trainable_parameters(model) for model in (one, two, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


@pytest.mark.parametrize(
    ("changes", "scaling"),
    [({}, 8 / 4), ({"use_rslora": True}, 8 / math.sqrt(4)), ({"use_dora": True}, 8 / 4)],
)
def test_peft_loads_the_folder_onto_our_model(
    tiny_checkpoint: Path, tmp_path: Path, changes: dict[str, bool], scaling: float
) -> None:
    chosen = preset("(fast_)?embeddings", "output", r"(fast_)?layers\.\d+\.attention\.wqkv", **changes)
    assert chosen.scaling == pytest.approx(scaling)
    model = load_model(tiny_checkpoint, torch.float32)
    add_adapters(model, chosen, seed=1)
    assert model.get_submodule("output").scaling["default"] == pytest.approx(scaling)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in trainable_parameters(model).items():
            if "magnitude" not in name:
                parameter.normal_(0, 0.1, generator=generator)
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_adapter(model, tiny_checkpoint, folder)

    loaded = peft.PeftModel.from_pretrained(load_model(tiny_checkpoint, torch.float32), str(folder)).eval()
    batch = make_batch(tiny_checkpoint)
    with torch.no_grad():
        hidden = model.eval().slow(batch.tokens)
        again = loaded.get_base_model().slow(batch.tokens)
        assert torch.equal(hidden, again)
        assert torch.equal(model.token_logits(hidden), loaded.get_base_model().token_logits(hidden))
        plain = load_model(tiny_checkpoint, torch.float32).slow(batch.tokens)
        assert not torch.allclose(hidden, plain, atol=1e-3)


def test_full_fine_tuning_trains_every_weight_in_memory_of_its_own(tiny_checkpoint: Path) -> None:
    content = (tiny_checkpoint / "model.pth").read_bytes()
    model = load_model(tiny_checkpoint, torch.float32)
    train_everything(model)
    trained = trainable_parameters(model)
    assert set(trained) == set(load_model(tiny_checkpoint).state_dict())
    with torch.no_grad():
        for parameter in trained.values():
            assert parameter.dtype == torch.float32
            parameter.zero_()
    assert (tiny_checkpoint / "model.pth").read_bytes() == content
