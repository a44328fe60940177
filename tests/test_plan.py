"""A plan says before a training what it will come to, and the training comes to just that."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.config.settings import TrainOptions
from fishtune.core.events import CheckpointSaved, Event, MemoryMeasured, Step, Validation
from fishtune.core.jobs.process import ProcessIdentity
from fishtune.core.jobs.record import Job, Place, create_job
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.pipeline.plan import Measured, TrainingPlan, measured_before, prolonged
from fishtune.core.stages.train.plan import plan_run
from fishtune.core.stages.train.planned import PlannedRun
from fishtune.core.stages.train.run import run

from .recorder import Recorder
from .training_kit import (
    shards,  # noqa: F401 - a fixture
    short_preflight,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
)

pytestmark = pytest.mark.usefixtures("short_preflight")

PLANNED = PlannedRun(
    clips=90, held_out=5, left_out=0, epochs=250.0, steps=1240, steps_per_epoch=4.96, tokens_per_step=8000.0
)
SPEED = Measured(run="yoona", tokens_per_second=4000.0, checkpoint_bytes=None)


@pytest.mark.parametrize(
    "limits",
    [
        {"epochs": 3, "max_steps": None, "accumulation": 2},
        {"epochs": 2.5, "max_steps": None},
        {"epochs": 9, "max_steps": 7},
        {"epochs": None, "max_steps": 5, "checkpoint_every": 2},
    ],
)
def test_a_run_has_the_steps_passes_tokens_and_checkpoints_that_were_planned(
    tmp_path: Path,
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    limits: dict[str, Any],
) -> None:
    settings = train_settings(tmp_path, small_base, shards, **limits)
    planned = plan_run(settings)
    recorder = Recorder()
    result = run(settings, recorder)
    saved = recorder.of(CheckpointSaved)
    plan = TrainingPlan.of(planned, settings, trained=_trained(result.checkpoint))
    assert plan.steps == result.step == recorder.of(Step)[0].total_steps
    assert plan.checkpoints == len(saved)
    assert plan.epochs == pytest.approx(result.clip_passes, abs=0.35)
    assert (planned.clips, planned.held_out, planned.left_out) == (10, 2, 0)
    # Names, position and containers come on top of the numbers, which are all that a large model has.
    assert plan.checkpoint_bytes is not None
    assert plan.checkpoint_bytes == pytest.approx(sum(event.bytes for event in saved), rel=0.35)


def _trained(checkpoint: Path) -> int:
    import torch

    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    return sum(tensor.numel() for tensor in weights.values())


def test_without_any_limit_the_plan_has_the_passes_that_training_takes(
    tmp_path: Path,
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
) -> None:
    planned = plan_run(train_settings(tmp_path, small_base, shards, max_steps=None))
    assert planned.epochs == 250
    assert planned.steps is not None and planned.steps >= 250 * planned.steps_per_epoch - 1


def test_planning_starts_no_torch_and_a_display_no_array_library() -> None:
    import subprocess
    import sys

    program = (
        "import sys, fishtune.core.pipeline.plan; assert 'numpy' not in sys.modules; "
        "import fishtune.core.stages.train.plan; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, cwd="/")


def test_the_sentence_has_all_numbers_and_claims_a_time_only_where_one_was_measured() -> None:
    settings = TrainOptions(epochs=250)
    plan = TrainingPlan.of(PLANNED, settings, device="H100", measured=SPEED, trained=57_700)
    assert plan.sentence == "250 epochs ≈ 1,240 steps ≈ 41 min on this GPU, 13 checkpoints, 11.4 MiB"
    assert plan.source == "By the speed of run yoona: 4,000 tokens/s."
    plan = TrainingPlan.of(PLANNED, settings)
    assert plan.sentence == "250 epochs ≈ 1,240 steps, 13 checkpoints"
    assert "not known" in plan.source
    one = PLANNED.model_copy(update={"epochs": 1.0, "steps": 1})
    assert TrainingPlan.of(one, settings).sentence == "1 epoch ≈ 1 step, 1 checkpoint"


def test_minutes_limit_the_plan_where_the_speed_is_known() -> None:
    settings = TrainOptions(epochs=250, max_minutes=10, keep_last=2)
    plan = TrainingPlan.of(PLANNED, settings, measured=SPEED)
    assert (plan.steps, plan.seconds, plan.checkpoints) == (300, 600, 2)
    assert plan.epochs == pytest.approx(300 / 4.96)
    alone = PLANNED.model_copy(update={"epochs": None, "steps": None})
    assert TrainingPlan.of(alone, settings).sentence == "10 min on this CPU"


def test_measured_checkpoints_count_more_than_arithmetic() -> None:
    measured = SPEED.model_copy(update={"checkpoint_bytes": 1 << 20})
    plan = TrainingPlan.of(PLANNED, TrainOptions(), measured=measured, trained=10**9)
    assert plan.checkpoint_bytes == 13 << 20


def trained(place: Place, settings: dict[str, Any], events: Iterable[Event]) -> Job:
    job = create_job(place, "train", settings, ["test"])
    job.write(process=ProcessIdentity.of(os.getpid()))
    writer = EventWriter(job.events_path)
    for event in events:
        writer.write(event)
    writer.close()
    return job


def step(speed: float) -> Step:
    return Step(step=9, loss=1, base_loss=1, semantic_loss=0, learning_rate=1, tokens_per_second=speed)


def test_a_speed_is_that_of_the_same_preset_model_and_device(tmp_path: Path) -> None:
    settings = train_settings(tmp_path, tmp_path / "base", tmp_path / "protos")
    of = settings.model_dump(mode="json")
    other, own = Place(results=settings.results, project="a"), Place(results=settings.results, project="run")
    on_gpu = MemoryMeasured(predicted_bytes=1, device="H100")
    trained(other, of, [on_gpu, step(900), CheckpointSaved(step=9, path="x", bytes=77)])
    trained(other, of | {"base": "/elsewhere/base"}, [step(20)])
    assert measured_before(settings, "H100") == Measured(run="a", tokens_per_second=900, checkpoint_bytes=77)
    on_cpu = measured_before(settings)
    assert on_cpu is not None and on_cpu.tokens_per_second == 20
    assert measured_before(settings, "A100") is None
    trained(own, of, [step(30)])
    trained(own, of, [Validation(step=0, loss=1, base_loss=1, semantic_loss=0, top_5_accuracy=0)])
    on_cpu = measured_before(settings)
    assert on_cpu is not None and (on_cpu.run, on_cpu.tokens_per_second) == ("run", 30)
    for changed in ({"lora_config": "gentle"}, {"base": tmp_path / "s2-pro"}, {"checkpointing": "none"}):
        assert measured_before(settings.model_copy(update=changed)) is None, changed


def test_a_speed_includes_what_comes_between_steps(tmp_path: Path) -> None:
    settings = train_settings(tmp_path, tmp_path / "base", tmp_path / "protos")
    # 2 s each, and 20 s more altogether for measuring and saving.
    steps = [
        step(1000).model_copy(
            update={"step": number, "total_steps": 11, "time": 100.0 + 4 * number, "eta": 2.0 * (11 - number)}
        )
        for number in range(1, 12)
    ]
    trained(Place(results=settings.results, project="a"), settings.model_dump(mode="json"), steps)
    found = measured_before(settings)
    assert found is not None and found.tokens_per_second == pytest.approx(500)


def test_more_of_a_run_is_a_new_total_that_nothing_else_limits() -> None:
    assert prolonged(100, 25.0, 50, "epochs") == {"epochs": 75, "max_steps": None, "max_minutes": None}
    assert prolonged(100, 25.0, 50, "steps") == {"epochs": None, "max_steps": 150, "max_minutes": None}
    assert prolonged(100, 25.0, 1, "steps", "early_stopping")["early_stopping"] is None
