"""Strength and averages: what checkpoints of one run change, blended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.cli.app import run as run_command
from fishtune.core.cli.arguments import spread_lists
from fishtune.core.config.presets import LoraPreset, lora_preset
from fishtune.core.config.project import merge_record_path
from fishtune.core.config.settings import MergeSettings, SynthSettings
from fishtune.core.errors import CheckpointError, UsageError
from fishtune.core.events import Reporter
from fishtune.core.lora.injection import add_adapters, matching_modules, save_adapter
from fishtune.core.lora.unmerged import load_unmerged
from fishtune.core.model.checkpoint import load_model
from fishtune.core.stages.merge.run import MergeResult, run
from fishtune.core.stages.synth.run import run as synthesise

SLOW = LoraPreset(
    description="slow", rank=4, alpha=6, targets=["slow_attention", "slow_mlp", "codebook_embeddings"]
)
KINDS = [SLOW, SLOW.model_copy(update={"use_rslora": True}), SLOW.model_copy(update={"use_dora": True})]
NAMES = ["lora", "rslora", "dora"]


@pytest.fixture
def base(model_directory: Callable[..., Path]) -> Path:
    """A tiny model."""
    return model_directory()


def checkpoint(base: Path, folder: Path, step: int, preset: LoraPreset = SLOW, base_sha256: str = "") -> Path:
    """Write a checkpoint of training whose weights follow from `step`."""
    model = load_model(base)
    add_adapters(model, preset, seed=1)
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_magnitude" in name:
                weight.mul_(1 + 0.2 * torch.rand(weight.shape, generator=generator))
            elif "lora_" in name:
                weight.normal_(0, 0.1, generator=generator)
    file = folder / f"step_{step:09d}.ckpt"
    adapter = file.with_suffix("")
    adapter.mkdir(parents=True)
    save_adapter(model, base, adapter)
    state = {f"model.{name}": weight for name, weight in model.named_parameters() if "lora_" in name}
    about = {
        "preset": preset.model_dump(mode="json"),
        "identity": {"base_sha256": base_sha256 or None},
        "settings": {"base": str(base)},
    }
    torch.save({"state_dict": state, "epoch": 0, "fishtune": about}, file)
    return file


def full_checkpoint(base: Path, folder: Path, step: int) -> Path:
    """Write a checkpoint of full fine-tuning."""
    generator = torch.Generator().manual_seed(step)
    weights = {
        f"model.{name}": weight + 0.01 * torch.randn(weight.shape, generator=generator)
        for name, weight in load_model(base).state_dict().items()
    }
    folder.mkdir(exist_ok=True)
    torch.save({"state_dict": weights, "fishtune": {"settings": {}}}, folder / f"step_{step:09d}.ckpt")
    return folder / f"step_{step:09d}.ckpt"


def merge(base: Path, output: Path, *average: Path, **more: Any) -> MergeResult:
    """Run the stage."""
    return run(MergeSettings(base_weight=base, output=output, average=list(average), **more), Reporter())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a merged model."""
    return dict(torch.load(directory / "model.pth"))


def changes(directory: Path, base: Path) -> dict[str, torch.Tensor]:
    """Return what a merged model adds to its base."""
    plain = weights(base)
    return {name: tensor.double() - plain[name].double() for name, tensor in weights(directory).items()}


@pytest.mark.parametrize("preset", KINDS, ids=NAMES)
def test_strength_0_is_the_base_and_1_the_checkpoint_bit_for_bit(
    base: Path, tmp_path: Path, preset: LoraPreset
) -> None:
    source = checkpoint(base, tmp_path / "run", 1, preset)
    for name, strength in (("none", 0.0), ("all", 1.0)):
        merge(base, tmp_path / name, lora_weight=source, strength=strength)
    merge(base, tmp_path / "plain", lora_weight=source)
    assert (tmp_path / "none/model.pth").read_bytes() == (base / "model.pth").read_bytes()
    assert (tmp_path / "all/model.pth").read_bytes() == (tmp_path / "plain/model.pth").read_bytes()


@pytest.mark.parametrize("strength", [0.5, 1.5])
@pytest.mark.parametrize("preset", KINDS[:2], ids=NAMES[:2])
def test_strength_scales_the_change(base: Path, tmp_path: Path, preset: LoraPreset, strength: float) -> None:
    source = checkpoint(base, tmp_path / "run", 1, preset)
    merge(base, tmp_path / "all", lora_weight=source)
    result = merge(base, tmp_path / "part", lora_weight=source, strength=strength)
    expected = {name: strength * change for name, change in changes(tmp_path / "all", base).items()}
    torch.testing.assert_close(changes(tmp_path / "part", base), expected, atol=1e-6, rtol=0)
    assert result.verification.arithmetic.relative_difference < 1e-5


def test_direction_and_magnitude_of_dora_are_averaged_and_scaled_each_for_itself(
    base: Path, tmp_path: Path
) -> None:
    sources = [checkpoint(base, tmp_path / "run", step, KINDS[2]) for step in (1, 2)]
    result = merge(base, tmp_path / "half", *sources, strength=0.5)
    assert result.verification.arithmetic.relative_difference < 1e-5
    name = "layers.0.attention.wo"
    states = [torch.load(source)["state_dict"] for source in sources]
    a, b, magnitude = (
        [state[f"model.{name}.lora_{part}.default.weight"] for state in states]
        for part in ("A", "B", "magnitude_vector")
    )
    weight = weights(base)[f"{name}.weight"]
    direction = weight + 0.5 * (6 / 4) * (b[0] @ a[0] + b[1] @ a[1]) / 2
    lengths = 0.5 * (weight.norm(dim=1) + (magnitude[0] + magnitude[1]) / 2)
    expected = direction * (lengths / direction.norm(dim=1))[:, None]
    torch.testing.assert_close(weights(tmp_path / "half")[f"{name}.weight"], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("preset", KINDS[:2], ids=NAMES[:2])
def test_the_average_is_the_mean_of_the_changes(base: Path, tmp_path: Path, preset: LoraPreset) -> None:
    sources = [checkpoint(base, tmp_path / "run", step, preset) for step in (1, 2, 3)]
    for number, source in enumerate(sources):
        merge(base, tmp_path / str(number), lora_weight=source)
    result = merge(base, tmp_path / "mean", *sources)
    each = [changes(tmp_path / str(number), base) for number in range(3)]
    mean = {name: sum(change[name] for change in each) / 3 for name in each[0]}
    torch.testing.assert_close(changes(tmp_path / "mean", base), mean, atol=1e-6, rtol=0)
    assert result.verification.arithmetic.relative_difference < 1e-5
    assert result.verification.effect.relative_difference > 1e-3
    half = merge(base, tmp_path / "half", *sources, strength=0.5)
    mean = {name: change / 2 for name, change in mean.items()}
    torch.testing.assert_close(changes(tmp_path / "half", base), mean, atol=1e-6, rtol=0)
    assert half.verification.captured == pytest.approx(1, abs=1e-3)


def test_full_fine_tuning_is_averaged_and_scaled_likewise(base: Path, tmp_path: Path) -> None:
    sources = [full_checkpoint(base, tmp_path / "run", step) for step in (1, 2)]
    merge(base, tmp_path / "mean", *sources, strength=0.5)
    plain, states = weights(base), [torch.load(source)["state_dict"] for source in sources]
    expected = {
        name: weight + 0.5 * ((states[0][f"model.{name}"] + states[1][f"model.{name}"]) / 2 - weight)
        for name, weight in plain.items()
    }
    torch.testing.assert_close(weights(tmp_path / "mean"), expected, atol=1e-6, rtol=0)
    merge(base, tmp_path / "none", *sources, strength=0)
    assert (tmp_path / "none/model.pth").read_bytes() == (base / "model.pth").read_bytes()


def test_the_proof_adds_the_checkpoints_up_by_itself(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fishtune.core.lora.files import Adapter
    from fishtune.core.stages.merge import run as merge_module

    sources = [checkpoint(base, tmp_path / "run", step) for step in (1, 2)]

    def only_the_first(found: list[Adapter]) -> Adapter:
        return found[0]

    monkeypatch.setattr(merge_module, "mean_of", only_the_first)
    with pytest.raises(Exception, match="do not compute what base and adapter compute"):
        merge(base, tmp_path / "mean", *sources)
    assert not (tmp_path / "mean").exists()


def test_a_checkpoint_named_twice_counts_once_and_the_record_names_all(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (checkpoint(base, tmp_path / "run", step) for step in (1, 2))
    monkeypatch.chdir(tmp_path)
    flags = ["--base-weight", str(base), "--output", "mean", "--strength", "0.8"]
    relative = os.path.relpath(one)
    assert run_command(["merge", "--average", str(one), str(two), relative, *flags]) == 0
    assert "Merged" in capsys.readouterr().out
    record = json.loads(merge_record_path(tmp_path / "mean").read_text(encoding="utf-8"))
    assert record["adapter"]["path"] == relative
    assert [each["path"] for each in record["adapter"]["averaged_with"]] == [str(two)]
    assert record["settings"]["strength"] == 0.8
    assert record["adapter"]["rank"] == 4


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (SLOW.model_copy(update={"targets": ["slow_attention"]}), "they change different weights"),
        (SLOW.model_copy(update={"use_dora": True}), "only one of them uses DoRA"),
        (SLOW.model_copy(update={"rank": 8, "alpha": 12}), "they were trained at different ranks or alphas"),
        (SLOW.model_copy(update={"alpha": 12}), "they were trained at different ranks or alphas"),
        (None, "they change different weights"),
    ],
)
def test_checkpoints_that_do_not_belong_together_are_not_averaged(
    base: Path, tmp_path: Path, other: LoraPreset | None, reason: str
) -> None:
    one = checkpoint(base, tmp_path / "run", 1)
    two = (
        checkpoint(base, tmp_path / "run", 2, other) if other else full_checkpoint(base, tmp_path / "run", 2)
    )
    with pytest.raises(UsageError, match=f"cannot be averaged: {reason}"):
        merge(base, tmp_path / "mean", one, two)


def test_checkpoints_of_different_bases_are_not_averaged(base: Path, tmp_path: Path) -> None:
    one, two = (checkpoint(base, tmp_path / "run", step, base_sha256=str(step)) for step in (1, 2))
    with pytest.raises(UsageError, match="they were trained on different bases"):
        merge(base, tmp_path / "mean", one, two)


def test_a_merge_of_nothing_says_what_is_missing(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["merge", "--base-weight", str(base), "--output", "x"]) == 2
    assert "--lora-weight is missing." in capsys.readouterr().err


def test_a_list_after_a_flag_is_a_flag_for_each() -> None:
    given = ["merge", "--average", "a", "b", "--link", "c"]
    assert spread_lists(given) == ["merge", "--average", "a", "--average", "b", "--link", "c"]
    assert spread_lists(["merge", "--average=a", "b"]) == ["merge", "--average=a", "b"]


def test_a_checkpoint_speaks_unmerged_at_any_strength(golden: Path, tmp_path: Path) -> None:
    base = golden / "base"
    sources = [
        checkpoint(base, tmp_path / "run", step, SLOW.model_copy(update={"targets": ["slow_attention"]}))
        for step in (1, 2)
    ]

    def speak(name: str, source: Path, **more: Any) -> bytes:
        settings = SynthSettings(
            checkpoint=source, text="hello", out=tmp_path / f"{name}.wav", max_new_tokens=6, seed=1,
            device="cpu", **more,
        )  # fmt: skip
        synthesise(settings, Reporter())
        return settings.out.read_bytes()

    plain, trained = speak("base", base), speak("one", sources[0])
    assert speak("none", sources[0], strength=0) == plain != trained
    assert speak("folder", sources[0].with_suffix(""), base_weight=base) == trained
    mean = speak("mean", sources[0], average=sources[1:])
    assert mean == speak("on the base", base, average=sources) != trained
    with pytest.raises(UsageError, match="is not a checkpoint of training"):
        speak("wrong", base, strength=0.5)
    other = checkpoint(base, tmp_path / "other", 1, base_sha256="0" * 64)
    with pytest.raises(CheckpointError, match="was trained on another base"):
        speak("wrong", other)


def test_in_a_project_an_average_speaks_on_its_own_base_and_not_on_the_merged_model(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [checkpoint(golden / "base", tmp_path / "run", step) for step in (1, 2)]
    (tmp_path / "fishtune.toml").write_text('name = "yoona"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    said = ["--text", "hello", "--seed", "1", "--max-new-tokens", "6", "--device", "cpu"]
    assert run_command(["synth", "--average", *map(str, sources), *said, "--out", "mean.wav"]) == 0
    flags = ["--checkpoint", str(golden / "base"), "--average", *map(str, sources)]
    assert run_command(["synth", *flags, *said, "--out", "expected.wav"]) == 0
    assert (tmp_path / "mean.wav").read_bytes() == (tmp_path / "expected.wav").read_bytes()
    assert "Wrote mean.wav" in capsys.readouterr().out


def test_the_mean_of_one_checkpoint_with_itself_is_that_checkpoint(base: Path, tmp_path: Path) -> None:
    source = checkpoint(base, tmp_path / "run", 1)
    tokens = torch.zeros((1, load_model(base).config.num_codebooks + 1, 4), dtype=torch.long)
    with torch.inference_mode():
        once = load_unmerged(base, [source], 1.0, Reporter()).slow(tokens)
        twice = load_unmerged(base, [source, source], 1.0, Reporter()).slow(tokens)
    torch.testing.assert_close(twice, once)


def test_the_preset_for_the_fast_stack_trains_nothing_else(base: Path) -> None:
    names = matching_modules(load_model(base), lora_preset("fast_only"))
    assert names
    assert all(name.startswith("fast_layers.") for name in names)
