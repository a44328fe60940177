"""`fishtune train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ..config.project import PROTOS, RESULTS, DatasetOptions, Project
from ..config.settings import ModelOptions, RunName, TrainOptions, TrainSettings
from ..config.strict import Table, parse, parse_flags
from ..errors import UsageError
from ..files import absolute
from ..jobs.record import Place
from ..pipeline.choice import recommended
from ..units import format_duration
from .console import out
from .options import Given, Json, takes
from .running import find_project, run_stage

_ELSEWHERE = {
    "results": RESULTS,
    "base": ModelOptions().directory,
    "protos": DatasetOptions().path / PROTOS,
}


@takes(TrainSettings, elsewhere=_ELSEWHERE)
def train(given: Given, json: Json = False) -> None:
    """Fine-tune the base on the packed clips: LoRA by a preset, or all weights (--lora-config full).

    What no flag gives comes from fishtune.toml, then from the preset. Stopped or killed, the same command
    goes on from the last checkpoint, to the same weights as without the break. Checkpoints and logs go to
    results/NAME.

    The model learns a way of speaking, hardly a timbre: keep giving a reference clip at synthesis. The
    earliest checkpoint that sounds good enough usually generalises best.

    Example: fishtune train --project yoona --lora-config r_8_alpha_16 --max-steps 1000

    Several GPUs: --devices 2, or torchrun --nproc-per-node 2 -m fishtune.core.cli train --project yoona
    """
    options = {name: value for name, value in given.items() if name in TrainOptions.model_fields}
    settings = _settings(given.get("project"), options)
    places = {name: absolute(path) for name, path in given.items() if name in _ELSEWHERE}
    resume = {name: value for name, value in given.items() if name == "resume"}
    settings = parse(
        TrainSettings, settings.model_dump(exclude_unset=True) | places | resume, "fishtune train"
    )
    summary = run_stage("train", settings, json=json)
    if summary is None or json:
        return
    loss = summary["validation_loss"]
    out.print(
        f"Trained to step {summary['step']} (epochs: {summary['clip_passes']:.0f}) in "
        f"{format_duration(summary['minutes'] * 60)}"
        + (f"; held-out loss {loss:.3f}, best at step {summary['best_step']}" if loss is not None else "")
    )
    out.print(f"Checkpoint: {summary['checkpoint']}")
    for line in _next(settings, Path(summary["checkpoint"])):
        out.print(line)


def _next(settings: TrainSettings, last: Path) -> list[str]:
    """Return what to do with the checkpoints: hear them, then merge the one that is recommended.

    Args:
        last: the newest checkpoint.
    """
    run = settings.results / settings.project
    here = Path.cwd()
    shown = run.relative_to(here) if run.is_relative_to(here) else run
    lines = [f"Next: {shlex.join(['fishtune', 'audition', str(shown)])}  (says which checkpoint is best)"]
    project = find_project()
    is_projects = project is not None and (project.run_folder, project.base) == (run, settings.base)
    if project is not None and is_projects and project.merge.checkpoint is None:
        return [*lines, "Then: fishtune merge  (the recommended one)"]
    best = recommended(Place(results=settings.results, project=settings.project))
    checkpoint = best.candidate.path if best else last
    merge = ["fishtune", "merge", "--base-weight", settings.base, "--lora-weight", checkpoint]
    merge += ["--output", settings.base.parent / f"{settings.project}-merged"]
    return [*lines, f"Then: {shlex.join(map(str, merge))}", "  or with the one that the audition recommends"]


class _Named(Table):
    project: RunName


def _settings(name: str | None, flags: dict[str, Any]) -> TrainSettings:
    """Return flags over the project file's values over the preset's."""
    found = find_project()
    if found is None and name is None:
        raise UsageError(
            "The run has no name: there is no fishtune.toml here and no --project.",
            "Name it, for example: fishtune train --project yoona",
        )
    if name is not None:
        parse_flags(_Named, project=name)
    parse_flags(TrainOptions, **flags)  # wrong ones are told as flags, not as keys of the project file
    folder, tables = (found.folder, found.model_dump(exclude_unset=True)) if found else (Path.cwd(), {})
    tables["train"] = tables.get("train", {}) | flags
    own_name = tables.pop("name", "")
    return Project.create(folder, name or own_name, **tables).train_settings()
