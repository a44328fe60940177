"""Merging into S2 bases: the reference's numbers, a drop-in directory, and what the licence asks for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fishtune.core.config.presets import lora_preset
from fishtune.core.config.settings import MergeSettings, VerifySettings
from fishtune.core.errors import CheckpointError, SettingsError
from fishtune.core.events import Reporter, Warned
from fishtune.core.lora.injection import add_adapters
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.families.s2 import S2
from fishtune.core.model.families.s2.names import own_name
from fishtune.core.stages.merge.run import MergeResult
from fishtune.core.stages.merge.run import run as merge_stage
from fishtune.core.stages.verify.run import run as verify
from safetensors import safe_open
from torch import Tensor

from .recorder import Recorder
from .s2_kit import GOLDEN_S2, random_base, whole_base
from .test_merge import trained, write_checkpoint
from .test_s2_family import losses_of

INDEX = "model.safetensors.index.json"
CORE = lora_preset("fast_r_16_alpha_16")


def merge(base: Path, checkpoint: Path, output: Path, reporter: Reporter, **more: object) -> MergeResult:
    settings = MergeSettings(base_weight=base, lora_weight=checkpoint, output=output, **more)
    return merge_stage(settings, reporter)


def stored(directory: Path) -> dict[str, tuple[str, Tensor]]:
    """Return the shard and value of every tensor, as an independent reader sees them."""
    found = {}
    for shard in sorted(directory.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                found[name] = (shard.name, file.get_tensor(name).clone())
    return found


@pytest.mark.parametrize("name", ["lora", "lora_core"])
def test_the_references_checkpoints_merge_to_the_references_weights(name: str, tmp_path: Path) -> None:
    base, output, reporter = whole_base(tmp_path / "base"), tmp_path / "out", Recorder()
    result = merge(base, GOLDEN_S2 / name / "step_000000010.ckpt", output, reporter, lora_alpha=8)
    expected = torch.load(GOLDEN_S2 / name / "merged_model.pth")
    merged = {own_name(key): tensor for key, (_, tensor) in stored(output).items()}
    torch.testing.assert_close(merged, dict(expected), atol=1e-5, rtol=0)

    reference, outputs = np.load(GOLDEN_S2 / "dual_ar.npz"), np.load(GOLDEN_S2 / name / "outputs.npz")
    inputs, labels = (torch.from_numpy(reference[key]) for key in ("inputs", "labels"))
    found = losses_of(load_model(output), inputs, labels)
    for key in ("token_logits", "codebook_logits", "base_loss", "semantic_loss"):
        torch.testing.assert_close(found[key], torch.from_numpy(outputs[key]), atol=1e-4, rtol=0)
    tied = [event for event in reporter.of(Warned) if "merging changes both" in event.message]
    assert len(tied) == (name == "lora")
    assert result.verification.captured == pytest.approx(1, abs=1e-4)


def test_a_merged_directory_takes_the_place_of_its_base(tmp_path: Path) -> None:
    base = random_base(tmp_path / "base", dtype=torch.bfloat16)
    (base / "LICENSE.md").write_text(
        'You must retain a "Notice" file: “This thing is licensed under the\nLicence, Copyright © A.”\n',
        encoding="utf-8",
    )
    checkpoint = write_checkpoint(trained(base, CORE), CORE, base, tmp_path / "run")
    output, reporter = tmp_path / "merged", Recorder()
    merge(base, checkpoint, output, reporter, link=True)

    names = {path.name for path in base.iterdir()}
    assert {path.name for path in output.iterdir()} == {*names, "NOTICE"}
    before, after = stored(base), stored(output)
    changed = {name for name in before if not before[name][1].equal(after[name][1])}
    assert changed == {name for name in before if "attention.w" in name or "feed_forward" in name}
    assert {name: shard for name, (shard, _) in before.items()} == {
        name: shard for name, (shard, _) in after.items()
    }
    assert {tensor.dtype for _, tensor in after.values()} == {torch.bfloat16}
    same = names - {path.name for path in base.glob("*.safetensors")}
    assert all((base / name).read_bytes() == (output / name).read_bytes() for name in same)
    assert (base / "codec.pth").samefile(output / "codec.pth")
    assert all(
        (base / shard).stat().st_size == (output / shard).stat().st_size
        for shard in set(json.loads((base / INDEX).read_text())["weight_map"].values())
    )
    notice = (output / "NOTICE").read_text(encoding="utf-8")
    assert notice.startswith("This thing is licensed under the Licence, Copyright © A.\n")
    assert "Built with Fish Audio" in notice
    assert "base was fine-tuned with fishtune (adapters of rank 16): 20 tensors were changed" in notice
    assert [event.message for event in reporter.of(Warned)] == [str(S2.terms)]
    assert verify(VerifySettings(directory=output), Reporter()).tensors > len(before)

    again = tmp_path / "again"
    merge(output, write_checkpoint(trained(output, CORE), CORE, output, tmp_path / "run-2"), again, reporter)
    assert (again / "NOTICE").read_text(encoding="utf-8").endswith(f"changed.\n\n{notice}")
    assert (output / "NOTICE").read_text(encoding="utf-8") == notice


def test_a_single_file_and_a_flat_directory_keep_their_container(tmp_path: Path) -> None:
    base = whole_base(tmp_path / "base")
    for file in base.glob("model*"):
        file.unlink()
    (base / "config.json").write_bytes((GOLDEN_S2 / "lora/merged_config.json").read_bytes())
    (base / "model.pth").write_bytes((GOLDEN_S2 / "lora/merged_model.pth").read_bytes())
    output = tmp_path / "out"
    merge(base, GOLDEN_S2 / "lora_core/step_000000010.ckpt", output, Recorder(), lora_alpha=8)
    names = {path.name for path in base.iterdir()}
    assert {path.name for path in output.iterdir()} == {*names, "NOTICE"}
    assert torch.load(output / "model.pth").keys() == torch.load(base / "model.pth").keys()


def test_adapters_of_a_tied_embedding_are_refused(tmp_path: Path) -> None:
    base = whole_base(tmp_path / "base")
    preset = CORE.model_copy(update={"targets": [*CORE.targets, "embeddings"]})
    with pytest.raises(SettingsError, match="output head too"):
        add_adapters(load_model(base), preset, seed=0)
    untied = CORE.model_copy(update={"targets": ["heads"]})
    assert add_adapters(load_model(base), untied, seed=0)


def test_a_merge_into_another_base_is_refused(tmp_path: Path) -> None:
    base = whole_base(tmp_path / "base")
    checkpoint = GOLDEN_S2.parent / "golden/lora/step_000000010.ckpt"
    other = random_base(
        tmp_path / "other", lambda content: content["text_config"].update(intermediate_size=64)
    )
    assert base.is_dir()
    with pytest.raises(CheckpointError, match="does not fit"):
        merge(other, checkpoint, tmp_path / "out", Recorder(), lora_alpha=8)
