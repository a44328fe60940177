"""Whole runs on a tiny model: coverage, resuming after SIGKILL, refusals, recovery, stopping."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.config.run_files import list_checkpoints
from fishtune.core.errors import (
    CheckpointError,
    DataError,
    DeviceMemoryError,
    FishtuneError,
    StopRequested,
    StorageError,
    TrainingError,
    UsageError,
)
from fishtune.core.events import CheckpointSaved, ItemFailed, Log, Phase, Step, Validation, Warned
from fishtune.core.lora import injection as adapters
from fishtune.core.stages.train import checkpoints, module
from fishtune.core.stages.train.checkpoints import read_run_state
from fishtune.core.stages.train.loss import LossSums
from fishtune.core.stages.train.run import TrainResult, run
from safetensors import SafetensorError

from .recorder import Recorder
from .training_kit import (
    Death,
    run_until_killed,
    shards,  # noqa: F401 - a fixture
    short_preflight,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
    write_plain_preset,
    write_shards,
)

pytestmark = pytest.mark.usefixtures("short_preflight")

Start = Callable[..., tuple[TrainResult, Recorder]]


@pytest.fixture
def start(small_base: Path, shards: Path, tmp_path: Path) -> Start:  # noqa: F811
    """Run a training in the test's folder."""

    def begin(recorder: Recorder | None = None, **changes: Any) -> tuple[TrainResult, Recorder]:
        recorder = recorder or Recorder()
        values = {"base": small_base, "protos": shards} | changes
        return run(train_settings(tmp_path, **values), recorder), recorder

    return begin


def final_state(result: TrainResult) -> dict[str, Any]:
    return torch.load(result.checkpoint, weights_only=True)


def assert_equal_weights(one: TrainResult, other: TrainResult) -> None:
    """Bit for bit: weights and the optimizer's moments."""
    a, b = final_state(one), final_state(other)
    assert a["state_dict"].keys() == b["state_dict"].keys()
    for name, tensor in a["state_dict"].items():
        assert torch.equal(tensor, b["state_dict"][name]), name
    for number, moments in a["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, b["optimizer_states"][0]["state"][number][name])


def curve(recorder: Recorder) -> list[tuple[int, float, float | None]]:
    return [(step.step, step.loss, step.gradient_norm) for step in recorder.of(Step)]


def test_a_run_learns_and_says_what_it_does(start: Start) -> None:
    result, recorder = start(max_steps=20, learning_rate=1e-2, validate_every=10, checkpoint_every=10)
    steps = recorder.of(Step)
    assert [step.step for step in steps] == list(range(1, 21))
    assert steps[-1].loss < steps[0].loss - 0.5
    for step in steps:
        assert step.loss == pytest.approx(step.base_loss + step.semantic_loss)
        assert step.total_steps == 20
    assert [event.step for event in recorder.of(Validation)] == [0, 10, 20], "the base comes first"
    saved = recorder.of(CheckpointSaved)
    assert [event.step for event in saved] == [10, 20]
    assert saved[-1].path == str(result.checkpoint) and saved[-1].adapter == str(result.adapter)
    assert result.checkpoint.name == "step_000000020.ckpt" and result.adapter is not None
    assert {path.name for path in result.adapter.iterdir()} >= {
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    assert result.ended_by == "max_steps" and result.step == 20
    first = recorder.events.index(steps[0])
    phases = [event.name for event in recorder.events[:first] if isinstance(event, Phase)]
    assert phases == [
        *("reading the packed data", "checking the base", "loading the model", "checking the set-up"),
        *("preparing the first step", "measuring the base on the held-out clips", "the first step"),
    ]
    assert len(phases) == len(recorder.of(Phase)), "afterwards the steps speak for themselves"
    assert any("10 clips to train on, 2 held out" in event.message for event in recorder.of(Log))


@pytest.mark.parametrize("accumulation", [1, 3])
def test_epochs_give_every_clip_exactly_so_many_passes_and_held_out_clips_none(
    start: Start, accumulation: int
) -> None:
    result, recorder = start(max_steps=None, epochs=3, accumulation=accumulation)
    state = read_run_state(result.checkpoint)
    assert state.coverage.tolist() == [3] * 10
    assert result.clip_passes == recorder.of(Step)[-1].clip_passes == 3
    assert result.ended_by == "epochs"
    assert recorder.of(Step)[-1].step == recorder.of(Step)[0].total_steps


def test_the_curve_does_not_depend_on_data_loading_processes(start: Start) -> None:
    _, alone = start(project="alone")
    _, helped = start(project="helped", num_workers=2)
    assert curve(alone) == curve(helped)


def test_activation_checkpointing_changes_no_number(start: Start) -> None:
    one, _ = start(project="one", checkpointing="none")
    other, _ = start(project="other", checkpointing="blocks")
    assert_equal_weights(one, other)


def test_the_cut_into_micro_batches_leaves_no_trace_in_a_step(start: Start) -> None:
    """Losses are divided by the counts of the whole step; a mean of means would be off by percents."""
    steps = []
    for project, tokens, accumulation in (("small", 128, 100), ("large", 4096, 1)):
        # All micro-batches of an epoch are one step either way.
        _, recorder = start(
            project=project,
            lora_config=write_plain_preset(),
            semantic_loss_weight=0.3,
            batch_tokens=tokens,
            max_length=128,
            accumulation=accumulation,
            max_steps=None,
            epochs=1,
            reference_probability=0.5,
        )
        (step,) = recorder.of(Step)
        steps.append((step.base_loss, step.semantic_loss, step.gradient_norm))
    assert steps[0] == pytest.approx(steps[1], rel=1e-5)


# ---- killed and resumed


@pytest.fixture(scope="module")
def uninterrupted(small_base: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:  # noqa: F811
    return run(train_settings(tmp_path_factory.mktemp("whole"), small_base, shards, max_steps=12), Recorder())


@pytest.fixture
def kill(small_base: Path, shards: Path, tmp_path: Path) -> Callable[..., None]:  # noqa: F811
    """Returns a function that starts a run of 12 steps and kills it there."""

    def begin_and_kill(*death: Any, **changes: Any) -> None:
        values: dict[str, Any] = {"project": "killed", "max_steps": 12} | changes
        run_until_killed(train_settings(tmp_path, small_base, shards, **values), Death(*death))

    return begin_and_kill


@pytest.mark.parametrize(
    ("death", "first_step"),
    [
        (("step", 3), 1),
        (("step", 8), 5),
        pytest.param(("step", 10), 9, marks=pytest.mark.slow),
        (("validation", 8), 5),
    ],
    ids=["before the first checkpoint", "at a checkpoint", "between checkpoints", "after a validation"],
)
def test_a_killed_and_resumed_run_ends_with_the_same_weights(
    start: Start,
    kill: Callable[..., None],
    uninterrupted: TrainResult,
    death: tuple[str, int],
    first_step: int,
) -> None:
    kill(*death)
    resumed, again = start(project="killed", max_steps=12)
    assert [step.step for step in again.of(Step)] == list(range(first_step, 13))
    assert_equal_weights(resumed, uninterrupted)
    state, whole = read_run_state(resumed.checkpoint), read_run_state(uninterrupted.checkpoint)
    assert state.step == whole.step == 12
    assert torch.equal(state.coverage, whole.coverage)
    assert resumed.validation_loss == uninterrupted.validation_loss
    assert resumed.best_step == uninterrupted.best_step


@pytest.mark.parametrize("share", [0.0, pytest.param(0.5, marks=pytest.mark.slow), 1.0])
def test_a_kill_in_the_middle_of_saving_leaves_no_torn_checkpoint(
    start: Start, kill: Callable[..., None], uninterrupted: TrainResult, tmp_path: Path, share: float
) -> None:
    kill("saving", share)
    folder = tmp_path / "results" / "killed"
    assert [path.name for path in list_checkpoints(folder)] == ["step_000000004.ckpt"]
    assert any(path.name.startswith(".fishtune-tmp") for path in (folder / "checkpoints").iterdir())
    resumed, recorder = start(project="killed", max_steps=12)
    assert recorder.of(Step)[0].step == 5
    assert_equal_weights(resumed, uninterrupted)
    assert not any(path.name.startswith(".fishtune-tmp") for path in (folder / "checkpoints").iterdir())


def test_a_kill_between_adapter_folder_and_checkpoint_is_no_checkpoint(
    start: Start, kill: Callable[..., None], uninterrupted: TrainResult, tmp_path: Path
) -> None:
    kill("adapter")
    assert len(list_checkpoints(tmp_path / "results" / "killed")) == 1
    assert_equal_weights(start(project="killed", max_steps=12)[0], uninterrupted)


def test_a_run_killed_twice_has_the_curve_of_one_that_was_not(
    start: Start, kill: Callable[..., None]
) -> None:
    _, whole = start(project="whole", max_steps=16)
    for at in (6, 13):
        kill("step", at, max_steps=16)
    _, last = start(project="killed", max_steps=16)
    assert curve(last) == curve(whole)[12:]
    assert last.of(Validation)[-1].loss == whole.of(Validation)[-1].loss


def test_a_longer_limit_goes_on_and_a_reached_one_says_that_nothing_is_left(start: Start) -> None:
    start(max_steps=4)
    longer, recorder = start(max_steps=8)
    assert [step.step for step in recorder.of(Step)] == [5, 6, 7, 8]
    same, silent = start(max_steps=8)
    assert not silent.of(Step)
    assert same.checkpoint == longer.checkpoint and same.step == 8
    assert any("nothing is left to train" in event.message for event in silent.of(Log))


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"lora_config": "r_16_alpha_16"}, "rank: 8 there, 16 now"),
        ({"lora_config": "full"}, "method: lora there, full now"),
        ({"seed": 2}, "seed: 1 there, 2 now"),
        ({"max_length": 100}, "max_length: 4096 there, 100 now"),
    ],
)
def test_resuming_with_other_settings_is_refused_with_what_differs(
    start: Start, changes: dict[str, Any], phrase: str
) -> None:
    start(max_steps=2)
    with pytest.raises(TrainingError, match=phrase):
        start(max_steps=4, **changes)


def test_resuming_with_another_base_or_data_set_is_refused(
    start: Start, tmp_path: Path, model_directory: Callable[..., Path]
) -> None:
    start(max_steps=2)
    other_data = write_shards(tmp_path / "other", {"ANN": [12, 7, 20, 9]})
    with pytest.raises(TrainingError, match="differs in the data set: [0-9a-f]{12} there, [0-9a-f]{12} now"):
        start(max_steps=4, protos=other_data)
    other_base = model_directory(codebook_size=64)
    with pytest.raises(TrainingError, match="differs in the base's weights"):
        start(max_steps=4, base=other_base)


def test_resume_never_and_a_named_checkpoint(start: Start, tmp_path: Path) -> None:
    first, _ = start(max_steps=8)
    with pytest.raises(TrainingError, match="already has checkpoints up to step 8"):
        start(resume="never")
    with pytest.raises(UsageError, match=r"step_000000099\.ckpt does not exist"):
        start(resume=tmp_path / "results" / "run" / "checkpoints" / "step_000000099.ckpt")
    earlier = list_checkpoints(tmp_path / "results" / "run")[0]
    again, recorder = start(resume=earlier)
    assert recorder.of(Step)[0].step == 5
    assert_equal_weights(first, again)


def test_a_damaged_checkpoint_is_an_error_that_names_it(start: Start, tmp_path: Path) -> None:
    result, _ = start(max_steps=4)
    content = result.checkpoint.read_bytes()
    result.checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(FishtuneError, match=r"step_000000004\.ckpt cannot be read"):
        start()


def test_over_long_clips_are_left_out_by_name_and_never_cut(start: Start, tmp_path: Path) -> None:
    protos = write_shards(tmp_path / "long", {"ANN": [12, 700, 9, 10]})
    result, recorder = start(protos=protos, max_steps=None, epochs=1, held_out=0)
    (failed,) = recorder.of(ItemFailed)
    assert failed.item == "ANN #1"
    assert "more than the 128 allowed" in failed.message and "--batch-tokens" in failed.hint
    assert read_run_state(result.checkpoint).coverage.tolist() == [1, 1, 1]
    only_long = write_shards(tmp_path / "only", {"ANN": [700, 800]})
    with pytest.raises(DataError, match="No clip of .* can be trained on"):
        start(protos=only_long)


def test_codes_of_another_codec_are_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="codebooks with codes up to .*, the model 10 codebooks of 64"):
        start(protos=write_shards(tmp_path / "large", {"ANN": [12, 14]}, codebook_size=4096))
    with pytest.raises(DataError, match="they have 4 codebooks"):
        start(protos=write_shards(tmp_path / "few", {"ANN": [12, 14]}, num_codebooks=4))


# ---- guards and recovery


def test_a_loss_that_is_not_finite_stops_at_the_last_good_checkpoint(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, _ = start(project="reference", max_steps=4)
    plain, calls = module.loss_sums, 0

    def poisoned(*args: Any) -> LossSums:
        nonlocal calls
        calls += 1
        sums = plain(*args)
        return sums if calls < 12 else LossSums(sums.base * math.nan, *list(vars(sums).values())[1:])

    monkeypatch.setattr(module, "loss_sums", poisoned)
    with pytest.raises(TrainingError, match=r"the base loss is nan.*step_0000000\d\d\.ckpt"):
        start(project="poisoned", max_steps=100, checkpoint_every=4, held_out=0.05)
    monkeypatch.undo()
    good = list_checkpoints(reference.checkpoint.parent.parent.parent / "poisoned")[0]
    assert torch.isfinite(next(iter(torch.load(good, weights_only=True)["state_dict"].values()))).all()


def test_out_of_memory_halves_the_micro_batch_and_changes_nothing_else(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {"lora_config": write_plain_preset(), "batch_tokens": 768}
    values |= {"max_steps": None, "epochs": 2}
    whole, undisturbed = start(project="whole", **values)
    plain, failures = module.loss_sums, []

    def tight(model: Any, tokens: torch.Tensor, labels: torch.Tensor) -> LossSums:
        if len(tokens) > 1 and model.training:
            sums = plain(model, tokens, labels)
            (sums.base + sums.semantic).backward()  # part of a step's gradient is there by then
            failures.append(len(tokens))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(model, tokens, labels)

    monkeypatch.setattr(module, "loss_sums", tight)
    recovered, recorder = start(project="tight", **values)
    assert max(failures) > 2, "nothing worth halving was injected"
    messages = [event.message for event in recorder.of(Warned)]
    assert messages[0].startswith(
        "Out of memory in step 1: micro-batches are computed in 2 pieces from now on."
    )
    assert len(messages) <= 3
    assert read_run_state(recovered.checkpoint).coverage.tolist() == [2] * 10
    for before, after in zip(undisturbed.of(Step), recorder.of(Step), strict=True):
        assert (after.step, after.clip_passes) == (before.step, before.clip_passes)
        assert after.loss == pytest.approx(before.loss, rel=1e-4)
        assert after.gradient_norm == pytest.approx(before.gradient_norm, rel=1e-3)
    assert whole.step == recovered.step


def test_out_of_memory_with_a_single_clip_is_an_error_with_advice(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> LossSums:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(module, "loss_sums", full)
    with pytest.raises(
        DeviceMemoryError, match="Out of GPU memory in step 1: not even one clip fits. CUDA out of memory"
    ):
        start(held_out=0.0)


def test_out_of_memory_before_an_update_changed_anything_costs_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, undisturbed = start(project="calm", max_steps=3)
    plain, calls = torch.optim.AdamW.step, 0

    def tight(optimizer: Any, closure: Any = None) -> Any:
        nonlocal calls
        calls += 1
        if calls in (1, 3):  # the first update makes the optimizer's state; the third call is a later one
            if calls == 1:
                parameter = optimizer.param_groups[0]["params"][0]
                optimizer.state[parameter]["step"] = torch.tensor(0.0)  # and nothing more of its state
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(optimizer, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", tight)
    recovered, recorder = start(project="tight", max_steps=3)
    assert calls == 5
    assert [event.loss for event in recorder.of(Step)] == [event.loss for event in undisturbed.of(Step)]
    states = [torch.load(result.checkpoint)["state_dict"] for result in (whole, recovered)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_out_of_memory_amid_an_update_ends_the_run_at_its_last_checkpoint(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = torch.optim.AdamW.step, 0

    def tight(optimizer: Any, closure: Any = None) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].add_(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return plain(optimizer, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", tight)
    with pytest.raises(DeviceMemoryError, match=r"update of step 4: CUDA.*step_000000002\.ckpt\."):
        start(project="half", max_steps=6, checkpoint_every=2)
    assert calls == 4
    (folder,) = tmp_path.rglob("half")
    assert [path.name for path in list_checkpoints(folder)] == ["step_000000002.ckpt"]


def test_a_rising_held_out_loss_is_reported_and_may_end_the_run(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = module.TrainingModule.evaluate
    factor = 1.0

    def rising(self: Any, plans: Any, source: Any) -> torch.Tensor:
        nonlocal factor
        factor *= 1.1
        sums = plain(self, plans, source)
        sums[:2] *= factor
        return sums

    monkeypatch.setattr(module.TrainingModule, "evaluate", rising)
    result, recorder = start(max_steps=100, validate_every=2, early_stopping=4)
    assert any("has not improved since step 2" in event.message for event in recorder.of(Warned))
    assert (result.ended_by, result.step, result.best_step) == ("early_stopping", 10, 2)
    assert result.checkpoint.exists(), "the last step is saved wherever the run ends"


def test_a_stop_finishes_the_step_saves_and_resumes_to_the_same_weights(
    start: Start, uninterrupted: TrainResult, tmp_path: Path
) -> None:
    recorder = Recorder()
    recorder._at = lambda event: isinstance(event, Step) and event.step == 6 and recorder.request_stop()
    with pytest.raises(StopRequested, match=r"Step 6 is saved in .*step_000000006\.ckpt"):
        start(recorder, project="stopped", max_steps=12)
    assert [event.step for event in recorder.of(Validation)] == [0, 4], "who stops waits for no validation"
    resumed, after = start(project="stopped", max_steps=12)
    assert after.of(Step)[0].step == 7
    assert_equal_weights(resumed, uninterrupted)
    guards = [read_run_state(each.checkpoint).held_out_guard for each in (resumed, uninterrupted)]
    assert guards[0] == guards[1]


def test_a_limit_of_minutes_ends_the_run_with_a_checkpoint(start: Start) -> None:
    result, _ = start(max_steps=None, max_minutes=0.01)
    assert result.ended_by == "max_minutes"
    assert result.checkpoint.exists() and result.step >= 1


def test_without_a_limit_a_sensible_number_of_passes_is_chosen_and_said(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    recorder._at = lambda event: isinstance(event, Step) and recorder.request_stop()
    with pytest.raises(StopRequested):
        start(recorder, max_steps=None)
    assert any("ends at epoch 250" in event.message for event in recorder.of(Log))
    assert recorder.of(Step)[0].total_steps is not None


# ---- files


def test_only_the_last_checkpoints_are_kept_where_asked(start: Start, tmp_path: Path) -> None:
    start(max_steps=8, checkpoint_every=2, keep_last=2, held_out=0)  # none is better than another
    names = sorted(path.name for path in (tmp_path / "results" / "run" / "checkpoints").iterdir())
    assert names == ["step_000000006", "step_000000006.ckpt", "step_000000008", "step_000000008.ckpt"]


def test_checkpoints_are_small_and_hold_no_base_weights(start: Start, small_base: Path) -> None:  # noqa: F811
    result, _ = start(lora_config="slow_r_8_alpha_16", max_steps=2)
    content = final_state(result)
    assert all(".lora_" in name for name in content["state_dict"])
    assert result.checkpoint.stat().st_size < (small_base / "model.pth").stat().st_size


def test_full_fine_tuning_trains_resumes_and_has_no_adapter_folder(
    start: Start, kill: Callable[..., None]
) -> None:
    whole, _ = start(project="whole", lora_config="full", max_steps=6)
    assert whole.adapter is None and not whole.checkpoint.with_suffix("").exists()
    kill("step", 5, lora_config="full", max_steps=6)
    resumed, _ = start(project="killed", lora_config="full", max_steps=6)
    assert_equal_weights(whole, resumed)


def test_loggers_write_curves_that_survive_a_resume(start: Start, tmp_path: Path) -> None:
    values: dict[str, Any] = {"loggers": ["tensorboard", "csv"]}
    start(max_steps=4, **values)
    start(max_steps=8, **values)
    folder = tmp_path / "results" / "run"
    assert len(list((folder / "tensorboard").glob("events.out.tfevents.*"))) == 2
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    steps = [int(row["step"]) for row in rows if row["train/loss"]]
    assert steps == list(range(1, 9))
    assert [int(row["step"]) for row in rows if row["held_out/loss"]] == [0, 4, 8]


def test_the_base_directory_is_never_written(start: Start, small_base: Path) -> None:  # noqa: F811
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in small_base.iterdir()}
    start(max_steps=2)
    start(project="full", lora_config="full", max_steps=2)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in small_base.iterdir()}


def test_a_full_disk_while_saving_is_one_sentence_and_keeps_the_older_checkpoint(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.save

    def full_disk(content: Any, file: Any) -> None:
        if content["global_step"] == 8:
            raise OSError(28, "No space left on device")
        plain(content, file)

    monkeypatch.setattr(checkpoints.torch, "save", full_disk)
    with pytest.raises(FishtuneError, match=r"The disk is full: .*step_000000008\.ckpt could not be written"):
        start(max_steps=12)
    monkeypatch.undo()
    assert len(list_checkpoints(tmp_path / "results" / "run")) == 1
    assert start(max_steps=12)[0].step == 12


def test_a_base_or_a_checkpoint_with_numbers_that_are_none_is_refused_at_once(
    start: Start,
    tmp_path: Path,
    small_base: Path,  # noqa: F811
) -> None:
    checkpoint = start(max_steps=4, checkpoint_every=4)[0].checkpoint
    content = torch.load(checkpoint)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name].view(-1)[0] = torch.inf
    torch.save(content, checkpoint)
    with pytest.raises(CheckpointError, match=r"\.ckpt: \S+ holds numbers that are infinite"):
        start(max_steps=8, checkpoint_every=4)
    broken = Path(shutil.copytree(small_base, tmp_path / "broken"))
    weights = torch.load(broken / "model.pth")
    weights["norm.weight"][1] = torch.nan
    torch.save(weights, broken / "model.pth")
    with pytest.raises(CheckpointError, match=r"model\.pth: norm\.weight holds numbers that are infinite"):
        start(base=broken, project="other", max_steps=4)


def test_a_full_disk_in_the_adapters_own_writer_is_one_sentence(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(adapters, "save_file", full_disk)
    with pytest.raises(StorageError, match=r"The disk is full: .*step_000000004 could not be written"):
        start(max_steps=4, checkpoint_every=4)
    assert list_checkpoints(tmp_path / "results" / "run") == []
