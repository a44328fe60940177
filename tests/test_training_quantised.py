"""Training over a quantised base: it learns, resumes to the bit, and merges into the base as it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.compute import quantised
from fishtune.core.config.presets import user_presets_folder
from fishtune.core.config.settings import BasePrecision, MergeSettings
from fishtune.core.errors import SettingsError, TrainingError, UsageError
from fishtune.core.events import Step, Validation, Warned
from fishtune.core.files import write_text
from fishtune.core.lora.agreement import compare_logits, compute_logits
from fishtune.core.lora.attach import apply_checkpoint
from fishtune.core.lora.files import Adapter, read_adapter
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.stages.merge.run import MergeResult
from fishtune.core.stages.merge.run import run as merge
from fishtune.core.stages.train.run import TrainResult, run

from .recorder import Recorder
from .s2_kit import random_base
from .test_quantised import PRECISIONS
from .test_training_compiled import compile_with
from .test_training_run import assert_equal_weights
from .training_kit import shards, small_base, train_settings  # noqa: F401 - fixtures

Trained = tuple[Path, TrainResult, Recorder]
Runs = Callable[[str, BasePrecision | None], Trained]
FAMILIES = ("s1", "s2")
LEARNT_ALIKE = {"int8": 0.1, "nf4": 0.25}
"""By how much what 24 steps learn may differ, relative: measured at most 0.04 and 0.21, of random weights."""


@pytest.fixture(scope="module")
def runs(small_base: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:  # noqa: F811
    """Return the base, the result and the events of a family's run at a precision; each is trained once."""
    folder = tmp_path_factory.mktemp("quantised")
    bases = {"s1": small_base, "s2": random_base(folder / "s2", dtype=torch.bfloat16)}
    made: dict[tuple[str, BasePrecision | None], Trained] = {}

    def trained(family: str, precision: BasePrecision | None) -> Trained:
        key = family, precision
        if key not in made:
            recorder = Recorder()
            settings = train_settings(
                folder,
                bases[family],
                shards,
                project=f"{family}-{precision}",
                lora_config="r_16_alpha_16",
                learning_rate=1e-2,
                max_steps=24,
                validate_every=24,
                checkpoint_every=12,
                base_precision=precision,
            )
            made[key] = bases[family], run(settings, recorder), recorder
        return made[key]

    return trained


@pytest.fixture
def start(small_base: Path, shards: Path, tmp_path: Path) -> Callable[..., TrainResult]:  # noqa: F811
    """Run a short training in the test's folder."""

    def begin(**changes: Any) -> TrainResult:
        values = {"lora_config": "r_16_alpha_16", "base_precision": "int8", "held_out": 0} | changes
        return run(train_settings(tmp_path, small_base, shards, **values), Recorder())

    return begin


def merged(trained: Trained, output: Path, recorder: Recorder | None = None) -> MergeResult:
    base, result, _ = trained
    settings = MergeSettings(base_weight=base, lora_weight=result.checkpoint, output=output)
    return merge(settings, recorder or Recorder())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_as_a_run_over_the_base_as_it_is(runs: Runs, family: str, precision: BasePrecision) -> None:
    (_, _, plain), (_, _, quantised) = runs(family, None), runs(family, precision)
    for events in (plain, quantised):
        assert not [event for event in events.of(Warned) if "Preflight" in event.message]
    before, after = (
        (events.of(Validation)[0].loss, events.of(Step)[-1].loss) for events in (plain, quantised)
    )
    assert after[0] != before[0], "it is another base"
    assert after[0] == pytest.approx(before[0], rel=0.02)
    learnt, as_it_is = after[0] - after[1], before[0] - before[1]
    assert as_it_is > 0.3
    assert learnt == pytest.approx(as_it_is, rel=LEARNT_ALIKE[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_resumed_run_ends_with_the_same_weights(
    start: Callable[..., TrainResult], precision: BasePrecision
) -> None:
    whole = start(project="whole", max_steps=6, base_precision=precision)
    start(project="parts", max_steps=3, base_precision=precision)
    assert_equal_weights(start(project="parts", max_steps=6, base_precision=precision), whole)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_checkpointing_changes_no_number(start: Callable[..., TrainResult], precision: BasePrecision) -> None:
    results = [
        start(project=mode, checkpointing=mode, max_steps=3, base_precision=precision)
        for mode in ("none", "selective", "blocks")
    ]
    for other in results[1:]:
        assert_equal_weights(results[0], other)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_compiled_blocks_train_alike(
    start: Callable[..., TrainResult], monkeypatch: pytest.MonkeyPatch, precision: BasePrecision
) -> None:
    plain = start(project="plain", max_steps=2, base_precision=precision)
    runners = compile_with(monkeypatch, "eager")
    compiled = start(project="compiled", max_steps=2, base_precision=precision)
    assert len(runners) == 1
    assert compiled.training_loss == pytest.approx(plain.training_loss, rel=1e-4)


@pytest.mark.slow
def test_two_processes_train_as_one_with_accumulation(start: Callable[..., TrainResult]) -> None:
    two = start(project="two", max_steps=2, devices=2)
    one = start(project="one", max_steps=2, accumulation=2)
    assert two.training_loss == pytest.approx(one.training_loss, rel=1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_merge_is_proven_and_says_how_far_training_and_the_merged_model_agree(
    runs: Runs, tmp_path: Path, family: str, precision: BasePrecision
) -> None:
    base, result, _ = trained = runs(family, precision)
    found = merged(trained, tmp_path / "out")
    checked = found.verification
    assert checked.arithmetic.relative_difference < 1e-5
    assert checked.quantised is not None
    assert 1e-3 < checked.quantised.relative_difference < 1, "not nothing, and not another model"

    # The same by the model that training has, beside the merged one as everybody loads it.
    source = read_adapter(result.checkpoint)
    over_few_bits = load_model(base, torch.float32, base_precision=precision)
    apply_checkpoint(over_few_bits, source)
    prompts = ModelDirectory.open(base).prompts
    with torch.no_grad():
        (theirs,) = compute_logits(over_few_bits, prompts)
        (ours,) = compute_logits(load_model(tmp_path / "out", torch.float32), prompts)
    expected = compare_logits(ours, theirs)
    assert checked.quantised.relative_difference == pytest.approx(expected.relative_difference, rel=1e-3)
    assert checked.quantised.same_token == expected.same_token
    assert checked.quantised.same_code == pytest.approx(expected.same_code, abs=0.01)

    record = json.loads(found.record.read_text(encoding="utf-8"))
    assert record["adapter"]["base_precision"] == precision
    told = record["verification"]["quantised_told"]
    assert re.fullmatch(
        rf"Training had the base in {precision}: with the merged weights, logits differ by \d+\.\d% from "
        r"those it learnt with; \d+% of the most probable tokens and \d+% of the most probable codes are the "
        r"same\.",
        told,
    )


def test_a_merge_over_a_base_as_it_is_says_nothing_of_bits(runs: Runs, tmp_path: Path) -> None:
    verification = merged(runs("s1", None), tmp_path / "out").verification
    assert verification.quantised is None and verification.quantised_told is None


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_adapter_folder_says_it_too_wherever_it_is_copied(
    runs: Runs, tmp_path: Path, precision: BasePrecision
) -> None:
    _, result, _ = runs("s1", precision)
    assert result.adapter is not None
    copied = shutil.copytree(result.adapter, tmp_path / "adapter")
    for path in (result.checkpoint, result.adapter, copied):
        source = read_adapter(path)
        assert isinstance(source, Adapter) and source.base_precision == precision
    plain = read_adapter(runs("s1", None)[1].checkpoint)
    assert isinstance(plain, Adapter) and plain.base_precision is None


def test_a_merge_without_the_library_is_made_and_says_what_was_not_looked_at(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(
        "bitsandbytes", reason="the extra is not installed: pip install 'fishtune[quantised]'"
    )
    trained = runs("s1", "nf4")
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: None)
    recorder = Recorder()
    assert merged(trained, tmp_path / "out", recorder).verification.quantised is None
    (warning,) = [event.message for event in recorder.of(Warned) if "agree" in event.message]
    assert warning == (
        "How far training over the base in nf4 and the merged weights agree was not looked at. A base in nf4 "
        "needs the package bitsandbytes, which is not installed."
    )


def test_resuming_over_another_base_precision_is_refused(start: Callable[..., TrainResult]) -> None:
    start(max_steps=1)
    with pytest.raises(TrainingError, match="base_precision: int8 there, None now"):
        start(max_steps=2, base_precision=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora_config": "full"}, "Full fine-tuning trains the weights themselves"),
        ({"lora_config": "dora"}, "DoRA learns the size of every row"),
    ],
)
def test_what_a_quantised_base_cannot_do_is_refused(
    start: Callable[..., TrainResult], changes: dict[str, Any], words: str
) -> None:
    preset = 'description = ""\nrank = 4\nalpha = 8\nuse_dora = true\ntargets = ["slow_attention"]\n'
    write_text(user_presets_folder() / "lora" / "dora.toml", preset)
    with pytest.raises(SettingsError, match=words) as error:
        start(**changes)
    assert "--base-precision" in error.value.hint


def test_nf4_without_its_library_is_refused_before_anything_is_read(
    start: Callable[..., TrainResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package bitsandbytes"):
        start(base_precision="nf4")
