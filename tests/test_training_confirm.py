"""The trial of the longest batch before the first step; the meter is injected, the steps are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.events import MemoryMeasured, Step, Warned
from fishtune.core.hardware.memory.measured import MeasurementCache
from fishtune.core.stages.train import memory_probe as confirm
from fishtune.core.stages.train import run as run_module
from fishtune.core.stages.train.run import run

from .accounting_kit import accounted_here  # noqa: F401 - fixture
from .recorder import Recorder
from .training_kit import shards, small_base, train_settings  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("accounted_here")


class FixedMeter:
    """Says that a device of this name had this peak."""

    device_name = "Some GPU"

    def __init__(self, peak: int = 0) -> None:
        self._peak = peak
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def peak(self) -> int:
        return self._peak


def train(folder: Path, base: Path, protos: Path, **changes: Any) -> tuple[dict[str, Any], Recorder]:
    recorder = Recorder()
    result = run(train_settings(folder, base, protos, max_steps=4, **changes), recorder)
    return torch.load(result.checkpoint, weights_only=True), recorder


@pytest.mark.parametrize("preset", ["r_8_alpha_16", pytest.param("full", marks=pytest.mark.slow)])
def test_the_trial_takes_real_steps_and_leaves_no_trace(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
) -> None:
    untried, before = train(tmp_path, small_base, shards, project="untried", lora_config=preset)
    meter, seen = FixedMeter(), []
    plain = confirm.loss_sums

    def watched(model: Any, tokens: torch.Tensor, labels: torch.Tensor) -> Any:
        seen.append((model.training, tuple(tokens.shape)))
        return plain(model, tokens, labels)

    monkeypatch.setattr(confirm, "loss_sums", watched)
    monkeypatch.setattr(run_module, "peak_meter", lambda device: meter)
    tried, after = train(tmp_path, small_base, shards, project="tried", lora_config=preset)
    assert [training for training, _ in seen] == [True, True, False], "two steps and a validation batch"
    columns = [rows * width for training, (rows, _, width) in seen if training]
    assert columns[0] == columns[1] > 90, "on a full micro-batch"
    assert all(
        torch.equal(tensor, tried["state_dict"][name]) for name, tensor in untried["state_dict"].items()
    )
    assert [step.loss for step in before.of(Step)] == [step.loss for step in after.of(Step)]


def test_prediction_and_measurement_are_told_and_kept(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_module, "peak_meter", lambda device: FixedMeter(1))
    _, recorder = train(tmp_path, small_base, shards, project="first")
    (event,) = recorder.of(MemoryMeasured)
    assert event.measured_bytes == 1 and event.device == "Some GPU"
    assert event.predicted_bytes == sum(event.parts.values()) > 1_000_000
    assert not MeasurementCache().read(), "a peak of one byte is not believed"

    monkeypatch.setattr(run_module, "peak_meter", lambda device: FixedMeter(event.predicted_bytes * 11 // 10))
    train(tmp_path, small_base, shards, project="second")
    (kept,) = MeasurementCache().read()
    assert kept.setting.gpu == "Some GPU" and kept.factor > 1


def test_a_trial_that_runs_out_of_memory_lets_training_begin_with_what_fits(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = confirm.loss_sums

    def tight(model: Any, tokens: torch.Tensor, labels: torch.Tensor) -> Any:
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(model, tokens, labels)

    monkeypatch.setattr(confirm, "loss_sums", tight)
    monkeypatch.setattr(run_module, "peak_meter", lambda device: FixedMeter(1))
    _, recorder = train(tmp_path, small_base, shards, batch_tokens=512)
    kinds = [type(event) for event in recorder.events]
    assert kinds.index(Warned) < kinds.index(Step)
    assert "Out of memory in the trial of the longest batch" in recorder.of(Warned)[0].message
    assert recorder.of(Step)[-1].step == 4
