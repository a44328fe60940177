"""Runs side by side: what each came to, and in what two of them differ. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..config.run_files import list_checkpoints
from ..config.settings import TrainSettings
from ..errors import UsageError
from ..jobs.record import Job, JobState, Place
from ..judge.record import read_run
from ..judge.results import CandidateKind, Measures
from ..messages import Message
from .choice import choose_by
from .history import run_history, training_jobs

_PLACES = {"project", "results", "resume", "device", "devices", "num_nodes", "num_workers", "loggers"}
"""Settings that say where a run lies and computes, not what it learns."""
_OF_LOSS = ("semantic_loss_weight", "held_out", "prompt", "reference_probability", "max_length", "seed")
"""Settings that decide what a held-out loss is a loss of."""
_SAME_LOSS = 1e-3
"""Relative difference that the held-out losses of one base on the same clips may have (device, precision)."""


class RunCheckpoint(BaseModel):
    """One row of a run: a checkpoint, the base it began with (step 0), or the user's recordings (no step)."""

    name: str
    step: int | None
    path: Path | None
    bytes: int = 0
    clip_passes: float | None = None
    held_out_loss: float | None = None
    """Measured at exactly this step."""
    top_5_accuracy: float | None = None
    healthy: bool | None = None
    """Whether an audition found its speech sound; None = not listened to."""
    measures: Measures | None = None
    """What the audition measured."""
    recommended: bool = False


class RunCheckpoints(BaseModel):
    """A run's checkpoints, beside its base and the user's own recordings."""

    run: str
    rows: list[RunCheckpoint]
    reason: Message | None
    """Why the recommended one is; None where there is none."""
    out: list[Message]
    """Why others are not, a sentence each."""


class ResumedAt(BaseModel):
    """Where a job took the run up."""

    step: int
    job: str
    time: float


class RunSummary(BaseModel):
    """What a run came to, over all its jobs."""

    run: str
    folder: Path
    state: JobState | None
    """Of its newest training job; None where only checkpoints are left."""
    step: int
    """The last that it trained."""
    total_steps: int | None
    clip_passes: float | None
    training_loss: float | None
    base_loss: float | None
    """Held-out loss of the base."""
    best_loss: float | None
    """The lowest held-out loss of a step."""
    best_step: int | None
    checkpoints: int
    recommended: int | None
    """Step of the recommended checkpoint."""
    jobs: int
    resumed: list[ResumedAt]
    settings: dict[str, Any]
    """Of its newest training job."""


class Difference(BaseModel):
    """A setting that runs do not share, with what each has."""

    setting: str
    values: dict[str, Any]


class Comparison(BaseModel):
    """Several runs: each one's best, what differs, and what must not be compared."""

    runs: list[RunSummary]
    differences: list[Difference]
    warnings: list[Message]
    measures: dict[str, Measures]
    """What the audition measured of each run's recommended checkpoint, where it did."""


def has_run(place: Place) -> bool:
    """Return whether a place has a run: something was trained there."""
    return bool(list_checkpoints(place.folder)) or bool(training_jobs(place))


def summarise(place: Place) -> RunSummary:
    """Return what a run came to."""
    jobs, history = training_jobs(place), run_history(place, with_steps=False)
    step = max([*history.steps, *history.saved], default=0)
    newest = history.steps.get(step)
    measured = {number: event.loss for number, event in history.validations.items() if number > 0}
    best = min(measured, key=lambda number: measured[number]) if measured else None
    found = choose_by(place, history, read_run(place.folder)).recommendation
    return RunSummary(
        run=place.project,
        folder=place.folder,
        state=jobs[-1].state() if jobs else None,
        step=step,
        total_steps=newest.total_steps if newest else None,
        clip_passes=newest.clip_passes if newest else None,
        training_loss=newest.loss if newest else None,
        base_loss=history.base_loss,
        best_loss=measured[best] if best is not None else None,
        best_step=best,
        checkpoints=len(list_checkpoints(place.folder)),
        recommended=found.candidate.step if found else None,
        jobs=len(history.jobs),
        resumed=[ResumedAt(step=mark.step, job=mark.job, time=mark.time) for mark in history.marks],
        settings=_settings_of(jobs),
    )


def _settings_of(jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the settings of the newest job, with today's defaults of what an older version did not have."""
    if not jobs:
        return {}
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in TrainSettings.model_fields.items()
        if not field.is_required()
    }
    return {**defaults, **jobs[-1].record.settings}


def run_checkpoints(place: Place) -> RunCheckpoints:
    """Return a run's checkpoints with everything that is known of each, the base and the recordings first."""
    history, table = run_history(place, with_steps=False), read_run(place.folder)
    choice = choose_by(place, history, table)
    found = choice.recommendation
    base = history.validations.get(0)
    rows = []
    own = table.candidate(CandidateKind.RECORDING) if table else None
    if own is not None:
        rows.append(RunCheckpoint(name=own.name, step=None, path=None, measures=own.measures))
    heard = table.candidate(CandidateKind.BASE) if table else None
    if base is not None or heard is not None:
        rows.append(
            RunCheckpoint(
                name="base",
                step=0,
                path=heard.path if heard else None,
                held_out_loss=base.loss if base else None,
                top_5_accuracy=base.top_5_accuracy if base else None,
                healthy=heard.healthy if heard else None,
                measures=heard.measures if heard else None,
            )
        )
    rows += [
        RunCheckpoint(
            name=f"step {each.step}",
            step=each.step,
            path=each.path,
            bytes=each.bytes,
            clip_passes=each.clip_passes,
            held_out_loss=each.validation_loss,
            top_5_accuracy=each.top_5_accuracy,
            healthy=each.healthy,
            measures=each.measures,
            recommended=found is not None and each.step == found.candidate.step,
        )
        for each in choice.candidates
    ]
    return RunCheckpoints(
        run=place.project,
        rows=rows,
        reason=found.reason if found else None,
        out=list(found.out) if found else [],
    )


def compare(places: Sequence[Place]) -> Comparison:
    """Return several runs side by side.

    Raises:
        UsageError: fewer than two, or one twice.
    """
    folders = {place.folder.resolve() for place in places}
    if len(folders) < 2 or len(folders) < len(places):
        raise UsageError(
            "Comparing takes two runs or more, each once.", "Name them: fishtune compare FIRST SECOND"
        )
    runs = [summarise(place) for place in places]
    names = _told_apart(runs)
    differences = [
        Difference(setting=setting, values=dict(zip(names, values, strict=True)))
        for setting in sorted({name for run in runs for name in run.settings} - _PLACES)
        if _differ(values := [run.settings.get(setting) for run in runs])
    ]
    return Comparison(
        runs=[run.model_copy(update={"run": name}) for run, name in zip(runs, names, strict=True)],
        differences=differences,
        warnings=_warnings(runs, {each.setting for each in differences}),
        measures={name: found for place, name in zip(places, names, strict=True) if (found := _heard(place))},
    )


def _told_apart(runs: Sequence[RunSummary]) -> list[str]:
    """Return the runs' names, or their folders where names are the same."""
    names = [run.run for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])


def _heard(place: Place) -> Measures | None:
    return next((row.measures for row in run_checkpoints(place).rows if row.recommended), None)


def _warnings(runs: Sequence[RunSummary], differing: Iterable[str]) -> list[Message]:
    found = [
        Message("The held-out losses cannot be compared: {setting} differs.", setting=setting)
        for setting in _OF_LOSS
        if setting in set(differing)
    ]
    bases = [run.base_loss for run in runs if run.base_loss is not None]
    if not found and bases and not math.isclose(min(bases), max(bases), rel_tol=_SAME_LOSS):
        found.append(
            Message(
                "The held-out losses cannot be compared: before training they were {lowest:.3f} and "
                "{highest:.3f}, so bases or held-out clips differ.",
                lowest=min(bases),
                highest=max(bases),
            )
        )
    return found
