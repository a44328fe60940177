"""Merging: numbers, formats, the directory that results, and what must be refused."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.cli.app import run as run_command
from fishtune.core.config.presets import LoraPreset
from fishtune.core.config.project import merge_record_path
from fishtune.core.config.settings import MergeSettings
from fishtune.core.errors import CheckpointError, StopRequested, StorageError, UsageError
from fishtune.core.events import Event, Log, Progress, Reporter, Warned
from fishtune.core.lora.files import read_adapter
from fishtune.core.lora.injection import add_adapters, save_adapter
from fishtune.core.lora.library import peft
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.containers import container
from fishtune.core.model.containers.container import WeightsReader
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.sampling import S1Rule
from fishtune.core.model.generate import generate
from fishtune.core.stages.merge import copying, proof
from fishtune.core.stages.merge import run as merge_module
from fishtune.core.stages.merge.run import MergeResult, run
from safetensors.torch import load_file

from .recorder import Recorder

ModelDirectory = Callable[..., Path]
EVERYTHING = LoraPreset(
    description="all modules",
    rank=4,
    alpha=6,
    dropout=0.1,
    targets=[
        "(codebook_|fast_)?embeddings",
        "(fast_)?output|fast_project_in",
        r"(fast_)?layers\.\d+\.attention\.(wqkv|wo)",
        r"(fast_)?layers\.\d+\.feed_forward\.(w1|w2|w3)",
    ],
)
SLOW = EVERYTHING.model_copy(update={"targets": EVERYTHING.targets[2:]})


def merge(
    base: Path, checkpoint: Path, output: Path, reporter: Reporter | None = None, **more: Any
) -> MergeResult:
    """Run the stage."""
    settings = MergeSettings(base_weight=base, lora_weight=checkpoint, output=output, **more)
    return run(settings, reporter or Reporter())


def trained(base: Path, preset: LoraPreset, spread: float = 0.1) -> DualAR:
    """Return the base with adapters whose weights are random, as if trained."""
    model = load_model(base)
    add_adapters(model, preset, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_magnitude" in name:
                weight.mul_(1 + 0.2 * torch.rand(weight.shape, generator=generator))
            elif "lora_" in name:
                weight.normal_(0, spread, generator=generator)
    return model.eval()


def write_checkpoint(model: DualAR, preset: LoraPreset, base: Path, folder: Path) -> Path:
    """Write `step_000000010.ckpt` and the adapter folder beside it, as training does."""
    adapter = folder / "step_000000010"
    adapter.mkdir(parents=True)
    save_adapter(model, base, adapter)
    state = {f"model.{name}": weight for name, weight in model.named_parameters() if "lora_" in name}
    about = {"preset": preset.model_dump(mode="json"), "identity": {"base_sha256": None}}
    torch.save({"state_dict": state, "epoch": 0, "fishtune": about}, folder / "step_000000010.ckpt")
    return folder / "step_000000010.ckpt"


def greedy(model: DualAR, golden: Path) -> torch.Tensor:
    """Return 12 greedy frames for the prompt of the reference."""
    prompt = torch.from_numpy(np.load(golden / "generate.npz")["prompt"]).long()
    prompt = prompt[: model.config.num_codebooks + 1]
    generation = generate(
        model,
        prompt,
        S1Rule(replace(S1.sampling, greedy=True)),
        end_id=-1,
        max_new_tokens=12,
        residual_codebook_size=64,
    )
    return generation.tokens


def test_the_references_checkpoint_merges_to_the_references_weights(golden: Path, tmp_path: Path) -> None:
    reporter = Recorder()
    checkpoint = golden / "lora/step_000000010.ckpt"
    result = merge(golden / "base", checkpoint, tmp_path / "out", reporter, lora_alpha=8)
    merged = torch.load(tmp_path / "out/model.pth")
    expected = torch.load(golden / "lora/merged_model.pth")
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=0)
    assert result.changed_tensors == 24
    warnings = [event.message for event in reporter.events if isinstance(event, Warned)]
    assert len(warnings) == 1
    assert "merging changes both" in warnings[0]
    assert result.verification.merged.relative_difference < 1e-5
    assert result.verification.effect.relative_difference > 0.1
    assert result.verification.captured == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("preset", "shape"),
    [
        (EVERYTHING, {"tie_word_embeddings": False}),
        (EVERYTHING, {"tie_word_embeddings": False, "fast_dim": 48, "attention_qkv_bias": True}),
        (SLOW, {}),
        (EVERYTHING.model_copy(update={"use_rslora": True}), {"tie_word_embeddings": False}),
        (EVERYTHING.model_copy(update={"use_dora": True}), {"tie_word_embeddings": False}),
        (SLOW.model_copy(update={"use_dora": True, "use_rslora": True}), {"num_codebooks": 4}),
    ],
    ids=["all", "all, other shape", "slow, tied", "rslora", "dora", "dora and rslora"],
)
def test_adapter_merged_weights_and_teacher_forcing_agree_code_for_code(
    golden: Path, tmp_path: Path, model_directory: ModelDirectory, preset: LoraPreset, shape: dict[str, Any]
) -> None:
    base = model_directory(**shape)
    if preset is SLOW:
        preset = SLOW.model_copy(update={"targets": SLOW.targets})
    targets = [t for t in preset.targets if "fast_dim" in shape or "fast_project_in" not in t]
    preset = preset.model_copy(
        update={
            "targets": [
                *targets,
                *(["output"] if preset is not SLOW and "tie_word_embeddings" in shape else []),
            ]
        }
    )
    model = trained(base, preset)
    checkpoint = write_checkpoint(model, preset, base, tmp_path / "run")
    expected = greedy(model, golden)
    assert not expected.equal(greedy(load_model(base), golden))
    for source in (checkpoint, checkpoint.with_suffix("")):
        output = tmp_path / f"merged-{source.suffix}"
        result = merge(base, source, output)
        assert result.verification.merged.relative_difference < 1e-5
        assert result.verification.merged.same_token == result.verification.merged.same_code == 1
        assert greedy(load_model(output), golden).equal(expected)


def test_peft_merges_to_the_same_weights(tmp_path: Path, model_directory: ModelDirectory) -> None:
    base = model_directory(tie_word_embeddings=False)
    preset = SLOW.model_copy(update={"use_dora": True})
    checkpoint = write_checkpoint(trained(base, preset), preset, base, tmp_path / "run")
    merge(base, checkpoint, tmp_path / "out")
    wrapped = peft.PeftModel.from_pretrained(load_model(base), str(checkpoint.with_suffix("")))
    expected = wrapped.merge_and_unload().state_dict()
    torch.testing.assert_close(torch.load(tmp_path / "out/model.pth"), dict(expected), atol=1e-6, rtol=1e-5)


def test_full_fine_tuning_replaces_the_weights(tmp_path: Path, model_directory: ModelDirectory) -> None:
    base = model_directory()
    weights = {f"model.{name}": weight + 0.01 for name, weight in load_model(base).state_dict().items()}
    torch.save({"state_dict": weights, "fishtune": {}}, tmp_path / "step_000000001.ckpt")
    result = merge(base, tmp_path / "step_000000001.ckpt", tmp_path / "out")
    merged = torch.load(tmp_path / "out/model.pth")
    torch.testing.assert_close({f"model.{name}": tensor for name, tensor in merged.items()}, weights)
    assert result.verification.merged.relative_difference == 0
    with pytest.raises(UsageError, match="holds whole weights and no adapters"):
        merge(base, tmp_path / "step_000000001.ckpt", tmp_path / "other", lora_alpha=8)


def test_container_names_order_and_dtype_are_the_bases(
    golden: Path, tmp_path: Path, model_directory: ModelDirectory
) -> None:
    base = model_directory(tie_word_embeddings=False, attention_qkv_bias=True)
    plain = torch.load(base / "model.pth")
    stored: dict[str, torch.Tensor] = {"model.audio_projector.weight": torch.arange(3.0)}
    for name, tensor in plain.items():
        if ".wqkv." in name:
            for letter, part in zip("qkv", tensor.split((64, 32, 32)), strict=True):
                stored["model." + name.replace(".wqkv.", f".w{letter}.")] = part.bfloat16()
        else:
            stored[f"model.{name}"] = tensor.bfloat16()
    torch.save({"state_dict": stored, "epoch": 7}, base / "model.pth")
    preset = EVERYTHING.model_copy(update={"targets": [*SLOW.targets, "embeddings", "output"]})
    model = trained(base, preset)
    checkpoint = write_checkpoint(model, preset, base, tmp_path / "run")
    merge(base, checkpoint, tmp_path / "out")

    merged = torch.load(tmp_path / "out/model.pth")
    assert merged["epoch"] == 7
    assert list(merged["state_dict"]) == list(stored)
    assert {tensor.dtype for tensor in merged["state_dict"].values()} == {torch.bfloat16, torch.float32}
    expected = load_model(base, dtype=torch.float32)
    add_adapters(expected, preset, seed=1)
    adapters = {n: w for n, w in model.named_parameters() if "lora_" in n}
    expected.load_state_dict(adapters, strict=False)
    for name, module in expected.named_modules():
        if hasattr(module, "get_delta_weight"):
            exact = module.get_base_layer().weight + module.get_delta_weight("default")
            found = load_model(tmp_path / "out").get_submodule(name).weight
            torch.testing.assert_close(found, exact.bfloat16(), atol=0, rtol=1e-2)
    unchanged = "model.norm.weight", "model.audio_projector.weight", "model.layers.0.attention.wq.bias"
    for name in unchanged:
        assert merged["state_dict"][name].equal(stored[name])
    with zipfile.ZipFile(tmp_path / "out/model.pth") as archive:
        assert archive.testzip() is None


def test_every_other_file_is_the_bases(golden: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(golden / "base", base)
    (base / "more").mkdir()
    (base / "more/notes.txt").write_text("kept")
    (base / "linked.txt").symlink_to(base / "more/notes.txt")
    (base / ".fishtune-download.json").write_text("{}")
    checkpoint = golden / "lora/step_000000010.ckpt"
    for link in (False, True):
        out = tmp_path / f"out-{link}"
        assert merge(base, checkpoint, out, lora_alpha=8, link=link).linked == link
        names = {path.relative_to(base) for path in base.rglob("*")} - {Path(".fishtune-download.json")}
        assert {path.relative_to(out) for path in out.rglob("*")} == names
        for name in names - {Path("model.pth"), Path("more")}:
            assert (out / name).read_bytes() == (base / name).read_bytes()
            assert not (out / name).is_symlink()
            assert (out / name).samefile(base / name) == link
        assert not (out / "model.pth").samefile(base / "model.pth")


def test_the_record_names_hashes_settings_versions_and_numbers(golden: Path, tmp_path: Path) -> None:
    checkpoint = golden / "lora/step_000000010.ckpt"
    result = merge(golden / "base", checkpoint, tmp_path / "out", lora_alpha=8)
    assert result.record == merge_record_path(tmp_path / "out") == tmp_path / "out.fishtune.json"
    record = json.loads(result.record.read_text(encoding="utf-8"))
    for part, file in (("base", golden / "base/model.pth"), ("adapter", checkpoint)):
        assert record[part]["sha256"] == merge_module.sha256(file)
    assert record["merged"]["sha256"] == merge_module.sha256(tmp_path / "out/model.pth")
    assert record["adapter"]["format"] == "reference"
    assert (record["adapter"]["rank"], record["adapter"]["alpha"]) == (4, 8)
    assert record["settings"]["lora_alpha"] == 8
    assert record["versions"]["torch"] == version("torch")
    assert record["verification"] == result.verification.model_dump()


def test_an_output_is_only_replaced_when_asked_and_written_by_a_merge(golden: Path, tmp_path: Path) -> None:
    base, checkpoint = golden / "base", golden / "lora/step_000000010.ckpt"
    out = tmp_path / "out"
    merge(base, checkpoint, out, lora_alpha=8)
    first = (out / "model.pth").read_bytes()
    with pytest.raises(UsageError, match=f"exists already: it was merged from .*{checkpoint.name}"):
        merge(base, checkpoint, out, lora_alpha=4)
    assert (out / "model.pth").read_bytes() == first
    merge(base, checkpoint, out, lora_alpha=4, overwrite=True)
    assert (out / "model.pth").read_bytes() != first
    merge_record_path(out).unlink()
    with pytest.raises(UsageError, match="fishtune did not write it"):
        merge(base, checkpoint, out, lora_alpha=8, overwrite=True)


def test_a_checkpoint_that_is_not_there_is_named_with_where_checkpoints_are(
    golden: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="The checkpoint .*nope.ckpt does not exist") as caught:
        merge(golden / "base", tmp_path / "nope.ckpt", tmp_path / "out")
    assert "results/NAME/checkpoints" in caught.value.hint and "download" not in caught.value.hint


@pytest.mark.parametrize("output", ["base", "base/merged", "."])
def test_an_output_that_overlaps_the_base_is_refused(golden: Path, tmp_path: Path, output: str) -> None:
    shutil.copytree(golden / "base", tmp_path / "base")
    with pytest.raises(UsageError, match="overlap"):
        merge(tmp_path / "base", golden / "lora/step_000000010.ckpt", tmp_path / output, lora_alpha=8)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "does not carry its alpha"),
        ({"lora_config": "r_8_alpha_16"}, "The preset has rank 8, but .* has rank 4"),
        ({"lora_config": "mine", "lora_alpha": 16}, r"alpha is 8 \(the preset\) and not 16"),
        ({"lora_config": "full"}, "the preset is for full fine-tuning"),
        ({"lora_config": "r_8"}, "There is no lora preset 'r_8'"),
    ],
)
def test_flags_that_contradict_the_references_file_are_refused(
    golden: Path, tmp_path: Path, flags: dict[str, Any], message: str, own_preset: None
) -> None:
    with pytest.raises(UsageError, match=message):
        merge(golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", **flags)
    assert list(tmp_path.glob("out*")) == []


@pytest.fixture
def own_preset() -> None:
    """A preset `mine` of rank 4 and alpha 8 in the person's configuration folder."""
    from fishtune.core.config.presets import user_presets_folder

    file = user_presets_folder() / "lora/mine.toml"
    file.parent.mkdir(parents=True)
    file.write_text('description = "mine"\nrank = 4\nalpha = 8\ntargets = ["output"]\n')


def test_alpha_may_come_from_a_preset(golden: Path, tmp_path: Path, own_preset: None) -> None:
    checkpoint = golden / "lora/step_000000010.ckpt"
    merge(golden / "base", checkpoint, tmp_path / "out", lora_config="mine")
    torch.testing.assert_close(
        torch.load(tmp_path / "out/model.pth"),
        torch.load(golden / "lora/merged_model.pth"),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("kind", ["ckpt", "folder"])
def test_flags_may_repeat_but_not_contradict_our_checkpoints(
    tmp_path: Path, model_directory: ModelDirectory, kind: str, own_preset: None
) -> None:
    base = model_directory()
    preset = SLOW.model_copy(update={"alpha": 8})
    checkpoint = write_checkpoint(trained(base, preset), preset, base, tmp_path / "run")
    source = checkpoint if kind == "ckpt" else checkpoint.with_suffix("")
    with pytest.raises(UsageError, match="The flags contradict .*rank is 4 .its own. and not 8; alpha is 8"):
        merge(base, source, tmp_path / "out", lora_config="r_8_alpha_16")
    with pytest.raises(UsageError, match="alpha is 8 .its own. and not 9"):
        merge(base, source, tmp_path / "out", lora_alpha=9)
    merge(base, source, tmp_path / "out", lora_config="mine", lora_alpha=8)


@pytest.mark.parametrize("kind", ["ckpt", "folder"])
def test_another_base_than_the_trained_one_is_refused(
    tmp_path: Path, model_directory: ModelDirectory, kind: str
) -> None:
    base = model_directory()
    checkpoint = write_checkpoint(trained(base, SLOW), SLOW, base, tmp_path / "run")
    content = torch.load(checkpoint)
    content["fishtune"]["identity"]["base_sha256"] = "0" * 64
    torch.save(content, checkpoint)
    source = checkpoint if kind == "ckpt" else checkpoint.with_suffix("")
    with pytest.raises(
        CheckpointError, match="was trained on another base: its weights have the hash 000000000000"
    ):
        merge(base, source, tmp_path / "out")


def test_a_peft_adapter_on_a_tied_embedding_is_refused(
    tmp_path: Path, model_directory: ModelDirectory
) -> None:
    base = model_directory("untied", tie_word_embeddings=False)
    preset = EVERYTHING.model_copy(update={"targets": ["embeddings"]})
    checkpoint = write_checkpoint(trained(base, preset), preset, base, tmp_path / "run")
    with pytest.raises(CheckpointError, match="which in this base is the output head too"):
        merge(model_directory("tied"), checkpoint, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": torch.zeros(32)}, "norm.weight belongs to no adapter"),
        ({"model.layers.0.attention.wo.lora_A": None}, "layers.0.attention.wo lacks lora_A"),
        (
            {
                "model.layers.9.attention.wo.lora_A": torch.zeros(4, 64),
                "model.layers.9.attention.wo.lora_B": torch.zeros(32, 4),
            },
            "layers.9.attention.wo.weight is not in the base",
        ),
        (
            {"model.fast_output.lora_B": torch.zeros(63, 4)},
            r"fast_output.weight is made for \(63, 32\), the base has \(64, 32\)",
        ),
        ({"model.fast_output.lora_B": torch.zeros(64, 5)}, "fast_output has lora_A .* do not fit together"),
        (
            {"model.fast_output.lora_B": torch.full((64, 4), torch.nan)},
            "fast_output has numbers that are not finite",
        ),
        (
            {"model.fast_output.lora_A": torch.zeros(2, 32), "model.fast_output.lora_B": torch.zeros(64, 2)},
            None,
        ),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused_and_nothing_is_written(
    golden: Path, tmp_path: Path, change: dict[str, torch.Tensor | None], message: str | None
) -> None:
    content = torch.load(golden / "lora/step_000000010.ckpt")
    content["state_dict"] |= change
    content["state_dict"] = {name: t for name, t in content["state_dict"].items() if t is not None}
    torch.save(content, tmp_path / "step.ckpt")
    if message is None:  # ranks may differ between modules
        merge(golden / "base", tmp_path / "step.ckpt", tmp_path / "out", lora_alpha=8)
        return
    with pytest.raises(CheckpointError, match=message):
        merge(golden / "base", tmp_path / "step.ckpt", tmp_path / "out", lora_alpha=8)
    assert list(tmp_path.glob("out*")) == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"bias": "all", "modules_to_save": ["norm"]},
            "uses bias, modules_to_save, which fishtune cannot merge",
        ),
        ({"peft_type": "IA3"}, "does not describe a LoRA adapter"),
        ({"r": 5}, "its rank is 4 instead of 5"),
        (None, "adapter_config.json is missing"),
    ],
)
def test_peft_folders_with_more_than_lora_are_refused(
    tmp_path: Path, model_directory: ModelDirectory, config: dict[str, Any] | None, message: str
) -> None:
    base = model_directory()
    folder = write_checkpoint(trained(base, SLOW), SLOW, base, tmp_path / "run").with_suffix("")
    file = folder / "adapter_config.json"
    if config is None:
        file.unlink()
    else:
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with pytest.raises(CheckpointError, match=message):
        merge(base, folder, tmp_path / "out")


def test_a_damaged_adapter_is_named(tmp_path: Path, model_directory: ModelDirectory) -> None:
    base = model_directory()
    folder = write_checkpoint(trained(base, SLOW), SLOW, base, tmp_path / "run").with_suffix("")
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is damaged"):
        merge(base, folder, tmp_path / "out")


def test_weights_that_were_not_stored_as_computed_are_refused(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = merge_module.WeightsEditor.write_rows

    def misplace(self: Any, names: tuple[str, ...], first: int, rows: torch.Tensor) -> None:
        aside = names == ("layers.0.attention.wo.weight",)
        write(self, ("fast_layers.0.attention.wo.weight",) if aside else names, first, rows)

    monkeypatch.setattr(merge_module.WeightsEditor, "write_rows", misplace)
    with pytest.raises(CheckpointError, match="were not stored as computed"):
        merge(golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", lora_alpha=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["embeddings", "layers.1.feed_forward.w2", "fast_output"])
def test_a_merge_that_computes_something_else_is_refused(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    def slightly_wrong(*arguments: Any) -> Any:
        adapter = read_adapter(*arguments)
        part = adapter.modules[module]
        # What peft computes with stays as it is; the merging arithmetic gets a scale that is 5 % off.
        object.__setattr__(part, "scaling", part.scaling * 1.05)
        return adapter

    monkeypatch.setattr(merge_module, "read_adapter", slightly_wrong)
    checkpoint = golden / "lora/step_000000010.ckpt"
    with pytest.raises(CheckpointError, match="do not compute what base and adapter compute"):
        merge(golden / "base", checkpoint, tmp_path / "out", lora_alpha=8)
    assert list(tmp_path.iterdir()) == []


def test_no_weight_is_ever_read_as_a_whole_and_pieces_come_to_the_same(
    tmp_path: Path, model_directory: ModelDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = model_directory(tie_word_embeddings=False)
    preset = EVERYTHING.model_copy(update={"targets": [*SLOW.targets, "embeddings"], "use_dora": True})
    checkpoint = write_checkpoint(trained(base, preset), preset, base, tmp_path / "run")
    whole = merge(base, checkpoint, tmp_path / "whole")
    read, counts = WeightsReader.read_rows, []

    def count(self: WeightsReader, names: Sequence[str], first: int, rows: int) -> torch.Tensor:
        counts.append(rows * self.locations[names[0]].shape[1:].numel())
        return read(self, names, first, rows)

    monkeypatch.setattr(WeightsReader, "read_rows", count)
    monkeypatch.setattr(container, "_PIECE_NUMBERS", 500)
    pieces = merge(base, checkpoint, tmp_path / "pieces")
    assert max(counts) <= 500
    assert pieces.verification.arithmetic.relative_difference < 1e-5
    assert pieces.verification.captured == pytest.approx(whole.verification.captured, rel=1e-4)
    torch.testing.assert_close(
        torch.load(tmp_path / "pieces/model.pth"), torch.load(tmp_path / "whole/model.pth")
    )


def test_however_many_threads_merge_it_is_to_the_same_bytes_and_torch_gets_its_threads_back(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "_PIECE_NUMBERS", 500)
    checkpoint = golden / "lora/step_000000010.ckpt"
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(merge(golden / "base", checkpoint, tmp_path / str(threads), lora_alpha=8))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "1/model.pth").read_bytes() == (tmp_path / "3/model.pth").read_bytes()
    assert results[0].verification == results[1].verification


def test_where_a_gpu_has_no_room_the_cpu_computes_the_proof(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, tried = proof.place_side_by_side, []

    def full(model: DualAR, versions: Any, order: Any, source: Any, parts: Any, device: torch.device) -> None:
        tried.append(device.type)
        if device.type == "cuda":
            raise torch.OutOfMemoryError
        place(model, versions, order, source, parts, device)

    monkeypatch.setattr(proof, "resolve_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(proof, "place_side_by_side", full)
    reporter = Recorder()
    result = merge(
        golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", reporter, lora_alpha=8
    )
    assert tried == ["cuda", "cpu"]
    assert result.verification.merged.relative_difference < 1e-5
    assert "no room" in "".join(event.message for event in reporter.events if isinstance(event, Log))


def test_a_small_change_that_rounding_hides_is_a_warning(
    tmp_path: Path, model_directory: ModelDirectory
) -> None:
    base = model_directory()
    torch.save({n: t.bfloat16() for n, t in torch.load(base / "model.pth").items()}, base / "model.pth")
    checkpoint = write_checkpoint(trained(base, SLOW, spread=0.003), SLOW, base, tmp_path / "run")
    reporter = Recorder()
    merge(base, checkpoint, tmp_path / "out", reporter)
    (warning,) = [event.message for event in reporter.events if isinstance(event, Warned)]
    assert re.fullmatch(
        r"Only \d+% of what the adapter changes is left after rounding to bfloat16: .*", warning
    )


@pytest.mark.parametrize("task", ["copying", "merging", "verifying"])
def test_a_stopped_or_failed_merge_leaves_nothing_and_keeps_what_was_there(
    golden: Path, tmp_path: Path, task: str
) -> None:
    out = tmp_path / "out"
    arguments = (golden / "base", golden / "lora/step_000000010.ckpt", out)
    merge(*arguments, lora_alpha=8)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    class Stopper(Reporter):
        def emit(self, event: Event) -> None:
            if isinstance(event, Progress) and event.task == task:
                self.request_stop()

    with pytest.raises(StopRequested):
        merge(*arguments, Stopper(), lora_alpha=4, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_full_disk_leaves_nothing(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(merge_module.WeightsEditor, "write_rows", full)
    with pytest.raises(StorageError, match="The disk is full"):
        merge(golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", lora_alpha=8)
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_the_disk_does_not_give_is_not_told_as_a_full_output(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.BytesIO):
        def readinto(self, _: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(copying, "open_regular", lambda *_: Failing())
    with pytest.raises(StorageError, match=r"golden/base/\S+ cannot be read: Input/output error"):
        merge(golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", lora_alpha=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("first", [0, 1000])
def test_where_the_system_does_not_copy_the_files_are_the_same(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    copy = os.copy_file_range
    refused = []

    def part(source: int, target: int, count: int) -> int:
        if first and not refused:
            refused.append(count)
            return copy(source, target, first)
        refused.append(count)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", part)
    merge(golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", lora_alpha=8)
    assert refused
    names = {path.name for path in (golden / "base").iterdir()} - {"model.pth"}
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (golden / "base" / name).read_bytes()


def test_what_a_killed_merge_left_is_swept(golden: Path, tmp_path: Path) -> None:
    (tmp_path / ".fishtune-tmp-0123456789ab-out").mkdir()
    (tmp_path / ".fishtune-tmp-0123456789ab-other").mkdir()
    merge(golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", lora_alpha=8)
    assert {path.name for path in tmp_path.iterdir()} == {
        "out",
        "out.fishtune.json",
        ".fishtune-tmp-0123456789ab-other",
    }


def test_the_command_merges_and_says_how_it_was_checked(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = golden / "lora/step_000000010.ckpt"
    flags = ["--base-weight", str(golden / "base"), "--lora-weight", str(checkpoint), "--output", "out"]
    assert run_command(["merge", *flags, "--lora-alpha", "8"]) == 0
    assert "Merged 24 tensors into" in capsys.readouterr().out
    assert run_command(["merge", *flags]) == 2
    assert "error: " in capsys.readouterr().err


def test_adapters_with_reference_names_and_ours_hold_the_same(
    tmp_path: Path, model_directory: ModelDirectory
) -> None:
    base = model_directory(tie_word_embeddings=False)
    preset = EVERYTHING.model_copy(update={"targets": [*SLOW.targets, "embeddings", "output"]})
    checkpoint = write_checkpoint(trained(base, preset), preset, base, tmp_path / "run")
    reference = {
        "model."
        + name.removeprefix("base_model.model.")
        .replace("lora_embedding_", "lora_")
        .removesuffix(".weight"): tensor
        for name, tensor in load_file(checkpoint.with_suffix("") / "adapter_model.safetensors").items()
    }
    torch.save({"state_dict": reference}, tmp_path / "reference.ckpt")
    merge(base, checkpoint, tmp_path / "ours")
    merge(base, tmp_path / "reference.ckpt", tmp_path / "theirs", lora_alpha=preset.alpha)
    assert (tmp_path / "ours/model.pth").read_bytes() == (tmp_path / "theirs/model.pth").read_bytes()


@pytest.mark.parametrize("name", ["notes.txt", "mine/deep.txt", "config.json", "model.pth", "link"])
def test_overwriting_never_loses_what_is_not_of_the_merge(golden: Path, tmp_path: Path, name: str) -> None:
    base, checkpoint, out = golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out"
    merge(base, checkpoint, out, lora_alpha=8)
    merge(base, checkpoint, out, lora_alpha=4, overwrite=True)
    merge(base, checkpoint, out, lora_alpha=8, overwrite=True, link=True)
    (out / name).parent.mkdir(exist_ok=True)
    if name == "link":
        (out / name).symlink_to(tmp_path)
    else:
        content = (out / name).read_bytes() if (out / name).exists() else b"mine, "
        (out / name).unlink(missing_ok=True)  # it may be linked to the base's
        (out / name).write_bytes(content[:-2] + b"  ")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=rf"out/{name} did not come from the merge"):
        merge(base, checkpoint, out, lora_alpha=4, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_in_the_place_of_a_merged_one_is_kept(golden: Path, tmp_path: Path) -> None:
    base, checkpoint, out = golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out"
    merge(base, checkpoint, out, lora_alpha=8)
    shutil.rmtree(out)
    out.mkdir()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"out/diary\.txt did not come from the merge"):
        merge(base, checkpoint, out, lora_alpha=8, overwrite=True)
    assert (out / "diary.txt").read_text() == "mine"


def test_a_file_that_is_no_record_of_a_merge_is_not_replaced_by_one(golden: Path, tmp_path: Path) -> None:
    record = merge_record_path(tmp_path / "out")
    record.write_text('{"mine": 1}')
    with pytest.raises(UsageError, match=r"out\.fishtune\.json exists already, and fishtune did not write"):
        merge(golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out", lora_alpha=8)
    assert record.read_text() == '{"mine": 1}'


def test_a_record_of_an_earlier_version_says_enough_to_replace_what_it_is_of(
    golden: Path, tmp_path: Path
) -> None:
    base, checkpoint, out = golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out"
    merge(base, checkpoint, out, lora_alpha=8)
    record = json.loads(merge_record_path(out).read_text())
    earlier = {key: value for key, value in record.items() if key not in ("files", "replaced")}
    merge_record_path(out).write_text(json.dumps(earlier))
    (out / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"notes\.txt did not come from the merge"):
        merge(base, checkpoint, out, lora_alpha=4, overwrite=True)
    (out / "notes.txt").unlink()
    merge(base, checkpoint, out, lora_alpha=4, overwrite=True)


def test_a_merge_killed_before_it_replaced_the_former_one_is_done_again(golden: Path, tmp_path: Path) -> None:
    base, checkpoint, out = golden / "base", golden / "lora/step_000000010.ckpt", tmp_path / "out"
    merge(base, checkpoint, out, lora_alpha=8)
    shutil.copytree(out, tmp_path / "former")
    merge(base, checkpoint, out, lora_alpha=4, overwrite=True)
    shutil.rmtree(out)
    (tmp_path / "former").rename(out)  # the record is the new one's already
    merge(base, checkpoint, out, lora_alpha=4, overwrite=True)


@pytest.mark.parametrize("where", ["base", "checkpoint"])
def test_numbers_that_are_none_are_refused_before_anything_is_written(
    golden: Path, tmp_path: Path, model_directory: ModelDirectory, where: str
) -> None:
    base = model_directory()
    weights = {f"model.{name}": weight + 0.01 for name, weight in load_model(base).state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "full.ckpt")
    file = base / "model.pth" if where == "base" else tmp_path / "full.ckpt"
    content = torch.load(file)
    next(iter(content.get("state_dict", content).values())).view(-1)[3] = torch.nan
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=rf"{file.name}: \S+ holds numbers that are infinite"):
        merge(base, tmp_path / "full.ckpt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [b'"x"', b"[" * 5000, b"[]", b"5", b'{"peft_type": "LORA", "lora_alpha": true}', b"\xff",
     b'{"peft_type": "LORA", "lora_alpha": 1e400}', b'{"peft_type": "LORA", "lora_alpha": 8, "r": "8"}',
     b'{"peft_type": "LORA", "lora_alpha": -1}'],
)  # fmt: skip
def test_a_damaged_adapter_config_is_named(
    tmp_path: Path, model_directory: ModelDirectory, content: bytes
) -> None:
    base = model_directory()
    folder = write_checkpoint(trained(base, SLOW), SLOW, base, tmp_path / "run").with_suffix("")
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        read_adapter(folder)


def test_a_wrong_folder_in_place_of_an_adapter_says_which_checkpoint_is_meant(
    golden: Path, tmp_path: Path
) -> None:
    (tmp_path / "me/checkpoints").mkdir(parents=True)
    (tmp_path / "me/checkpoints/step_000000010.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"such as .*step_000000010\.ckpt"):
        merge(golden / "base", tmp_path / "me", tmp_path / "out")
