"""One history of a run over all its jobs, whatever ended them, and what is made of it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from fishtune.core.events import Step
from fishtune.core.jobs.record import Job, Place
from fishtune.core.jobs.start import new_job
from fishtune.core.jobs.writer import EventWriter, JobReporter
from fishtune.core.pipeline.choice import choose
from fishtune.core.pipeline.history import RunHistory, run_history
from fishtune.core.stages.registry import StageName
from fishtune.core.stages.train.run import run

from .recorder import Recorder
from .training_kit import (
    Death,
    run_until_killed,
    shards,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
)


def curve(history: RunHistory) -> list[tuple[int, float]]:
    return [(step, event.loss) for step, event in history.steps.items()]


def test_a_run_that_was_killed_twice_shows_one_unbroken_curve(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    values: dict[str, Any] = {"max_steps": 12, "loggers": ["csv"]}
    whole = Recorder()
    run(train_settings(tmp_path, small_base, shards, project="whole", **values), whole)
    settings = train_settings(tmp_path, small_base, shards, **values)
    place = Place(results=settings.results, project="run")

    def next_job() -> Job:
        with new_job(StageName.TRAIN, settings, place) as (job, locks):
            for lock in locks:
                lock.release()
        return job

    run_until_killed(settings, Death("step", 6), next_job().events_path)
    run_until_killed(settings, Death("step", 11), next_job().events_path)
    last = next_job()
    run(settings, JobReporter(EventWriter(last.events_path)))

    history = run_history(place)
    assert curve(history) == [(event.step, event.loss) for event in whole.of(Step)]
    assert list(history.validations) == [0, 4, 8, 12]
    assert list(history.saved) == [4, 8, 12]
    assert [mark.step for mark in history.marks] == [4, 8]
    assert history.jobs[-1] == history.marks[-1].job == last.id
    assert history.base_loss == history.validations[0].loss
    assert [each.validation_loss for each in choose(place).candidates] == [
        history.validations[step].loss for step in (4, 8, 12)
    ]
    with (place.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["train/loss"])) for row in rows if row["train/loss"]] == curve(
        history
    )
    assert [int(row["step"]) for row in rows if row["held_out/loss"]] == [0, 4, 8, 12]


def test_without_its_steps_a_history_is_the_same_otherwise(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    settings = train_settings(tmp_path, small_base, shards, max_steps=4)
    place = Place(results=settings.results, project="run")
    with new_job(StageName.TRAIN, settings, place) as (job, _):
        run(settings, JobReporter(EventWriter(job.events_path)))
    full, light = run_history(place), run_history(place, with_steps=False)
    assert len(full.steps) == 4 and sorted(light.steps) == [1, 4]
    assert (light.validations, light.saved, light.marks) == (full.validations, full.saved, [])
