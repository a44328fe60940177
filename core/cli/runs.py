"""`fishtune runs`, `checkpoints`, `compare`: what runs came to, over all their jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config.project import PROJECT_FILE, Project
from ..errors import UsageError
from ..files import absolute
from ..jobs.record import Place
from ..judge.results import Measure, Measures
from ..messages import Message, first_of, near
from ..pipeline.runs import Comparison, RunSummary, compare, has_run, run_checkpoints, summarise
from ..units import format_bytes
from . import completion
from .columns import print_table
from .console import out, print_json
from .options import Json
from .running import find_project, places_here, results_of

Run = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="The run: its name, or its folder results/NAME; else the project's.",
        autocompletion=completion.runs,
    ),
]
_NONE = "–"
_LISTED = 10
MEASURES = ("wrong", "WER", "similarity", "letters/s", "pitch")
"""Headings of `measure_cells`."""


def runs(json: Json = False) -> None:
    """List the runs of this folder: how far each is, its held-out losses, which checkpoint is recommended.

    Example: fishtune runs
    """
    found = [summarise(place) for place in places_here() if has_run(place)]
    if json:
        print_json([run.model_dump(mode="json") for run in found])
    elif not found:
        out.print("No runs here. Train one with: fishtune train --project NAME …")
    else:
        _print_runs(found)


def checkpoints(run: Run = None, json: Json = False) -> None:
    """List the checkpoints of a run beside its base, with held-out losses and what auditions measured.

    Example: fishtune checkpoints my-voice
    """
    found = run_checkpoints(find_run(run))
    if json:
        print_json(found.model_dump(mode="json"))
        return
    trained = [
        [
            "*" if row.recommended else "",
            row.name,
            _number(row.clip_passes, ".1f"),
            _number(row.held_out_loss, ".3f"),
            _number(row.top_5_accuracy, ".0%"),
            format_bytes(row.bytes) if row.bytes else _NONE,
        ]
        for row in found.rows
    ]
    print_table(("", "", "passes", "held-out", "top-5", "size"), trained, left=2)
    heard = [
        ["*" if row.recommended else "", row.name, *measure_cells(row.measures)]
        for row in found.rows
        if row.measures
    ]
    if heard:
        out.print()
        print_table(("", "", *MEASURES), heard, left=2)
    for sentence in [*found.out, *([found.reason] if found.reason else [])]:
        out.print(sentence)


def compare_runs(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Two runs or more.", autocompletion=completion.runs)
    ],
    json: Json = False,
) -> None:
    """Show in which settings runs differ, and what each came to.

    Warns where their held-out losses are not losses of the same thing.

    Example: fishtune compare gentle strong
    """
    found = compare([find_run(run) for run in runs])
    if json:
        print_json(found.model_dump(mode="json"))
        return
    _print_runs(found.runs)
    out.print()
    _print_differences(found)
    if found.measures:
        out.print()
        print_table(
            ("recommended", *MEASURES),
            [[name, *measure_cells(measures)] for name, measures in found.measures.items()],
        )
    for sentence in found.warnings:
        out.print(f"warning: {sentence}")


def find_run(run: Path | None, is_run: Callable[[Place], bool] = has_run) -> Place:
    """Return the place of a run that is named, or given by its folder or by its project's.

    Args:
        run: None = the run of the project around this folder.
        is_run: what counts as one.

    Raises:
        UsageError: there is no such run.
        SettingsError: the project file in the folder cannot be used.
    """
    project = find_project()
    if run is None:
        if project is None:
            raise UsageError(
                "There is no project here, and no run was named.", "See runs with: fishtune runs"
            )
        run = project.run_folder
    for folder in (run_folder(run), results_of(project) / run):
        if folder.is_dir() and is_run(place := Place.at(absolute(folder))):
            return place
    known = [place.project for place in places_here() if is_run(place)]
    raise UsageError(
        "There is no run {name} here.",
        near(str(run), known)
        or (
            Message("The runs of this folder are {names}.", names=first_of(known, _LISTED))
            if known
            else Message("Nothing was trained here yet; fishtune train makes a run.")
        ),
        name=run,
    )


def run_folder(folder: Path) -> Path:
    """Return the folder of the run that a project's folder holds; any other folder as it is.

    Raises:
        SettingsError: the project file cannot be used.
    """
    return Project.load(folder).run_folder if (folder / PROJECT_FILE).is_file() else folder


def _print_runs(found: Sequence[RunSummary]) -> None:
    rows = [
        [
            run.run,
            str(run.state) if run.state else _NONE,
            f"{run.step}/{run.total_steps}" if run.total_steps else str(run.step),
            _number(run.clip_passes, ".1f"),
            _number(run.base_loss, ".3f"),
            _number(run.best_loss, ".3f"),
            _number(run.best_step, ""),
            str(run.checkpoints),
            _number(run.recommended, ""),
        ]
        for run in found
    ]
    print_table(
        ("run", "state", "step", "passes", "base", "best held-out", "at step", "saved", "choice"),
        rows,
        left=2,
    )
    for run in found:
        if run.resumed:
            marks = ", ".join(f"{mark.step} ({_day(mark.time)})" for mark in run.resumed)
            out.print(f"{run.run} was resumed after step {marks}.")


def _print_differences(found: Comparison) -> None:
    if not found.differences:
        out.print("Their settings are the same.")
        return
    rows = [
        [difference.setting, *(_shown(value) for value in difference.values.values())]
        for difference in found.differences
    ]
    print_table(("setting", *(run.run for run in found.runs)), rows)


def measure_cells(found: Measures | None) -> list[str]:
    """Return what was measured as the cells of a row: means with their intervals."""
    found = found or Measures()
    return [
        interval(found.faulty, "%"),
        interval(found.wer, "%"),
        interval(found.similarity, ".2f"),
        interval(found.rate, ".1f"),
        interval(found.pitch, ".0f"),
    ]


def interval(measure: Measure | None, form: str) -> str:
    """Return a mean with its interval, in percent with the form `%`."""
    if measure is None:
        return _NONE
    if form == "%":
        return f"{measure.mean:.0%} ({100 * measure.low:.0f}–{100 * measure.high:.0f})"
    return f"{measure.mean:{form}} ({measure.low:{form}}–{measure.high:{form}})"


def _number(value: float | None, form: str) -> str:
    return _NONE if value is None else f"{value:{form}}"


def _shown(value: Any) -> str:
    return _NONE if value is None else str(value)


def _day(time: float) -> str:
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M")
