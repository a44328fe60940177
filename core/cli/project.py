"""`fishtune init` and `fishtune run`: a project file, and the whole chain from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..config.presets import preset_names, read_preset
from ..config.project import PROJECT_FILE, Project
from ..errors import UsageError
from ..files import absolute
from ..pipeline.chain import RunSettings, place_of, steps_from
from ..pipeline.status import step_statuses
from ..pipeline.steps import StepName, StepState
from ..stages.registry import StageName
from ..terminal import shell_quoted
from . import completion
from .console import out, print_json
from .options import Json
from .running import detached, run_stage


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the project; made where it is missing.")] = Path(),
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the run; else the folder's name.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Recordings, as DATA/SPEAKER/NAME.mp3 with NAME.lab; else data in the project.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Checkpoint directory of the base model, or s2-pro or another preset to download; else "
            "openaudio-s1-mini.",
            autocompletion=completion.models,
        ),
    ] = None,
    lora_config: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is trained; see fishtune presets.",
            autocompletion=completion.lora_presets,
        ),
    ] = None,
) -> None:
    """Make a project file, fishtune.toml, that holds every choice: all options are in it, explained.

    Example: fishtune init yoona --data ~/recordings
    """
    base = absolute(folder)
    if (base / PROJECT_FILE).exists():
        raise UsageError(
            "{file} exists already.",
            "Edit it, or make the project in another folder.",
            file=folder / PROJECT_FILE,
        )
    tables: dict[str, dict[str, str]] = {}
    if data is not None:
        tables["dataset"] = {"path": _in_project(data, base)}
    if model is not None:
        is_preset = str(model) in preset_names("models") and not model.exists()
        tables["model"] = {"name": str(model)} if is_preset else {"path": _in_project(model, base)}
    if lora_config is not None:
        read_preset("lora", lora_config)  # a wrong name is said now, not when training begins
        tables["train"] = {"lora_config": lora_config}
    project = Project.create(base, name or base.name, **tables)
    project.save(commented=True)
    out.print(f"Made {project.file}\nRecordings: {project.data}\nBase model: {project.base}")
    out.print(f"Then: fishtune run {shell_quoted(folder)}" if folder != Path() else "Then: fishtune run")


def _in_project(path: Path, base: Path) -> str:
    """Return a path given on the command line as the project file has it: relative inside its folder."""
    try:
        there = absolute(path.expanduser())
    except RuntimeError as error:
        raise UsageError(
            "{file} begins with the home folder of a user that does not exist here.",
            "Write ./{file} if a folder of that name is meant.",
            file=path,
        ) from error
    return str(there.relative_to(base) if there.is_relative_to(base) else there)


def run(
    project: Annotated[Path, typer.Argument(help="The project file or its folder.")] = Path(PROJECT_FILE),
    start: Annotated[
        StepName | None,
        typer.Option(
            "--from",
            metavar="STEP",
            help="Begin with this step, up to date or not: dataset, model, extract, pack, train or merge.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start it as a job and return.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    json: Json = False,
) -> None:
    """Do the whole chain from a project file: every step that is not up to date, in order.

    Each step is a job of its own. Killed or stopped, the next run goes on where this one was.

    Example: fishtune run fishtune.toml --detach
    """
    loaded = Project.load(project)
    if dry_run:
        _show_plan(loaded, start, json)
        return
    token = detached.set(detach or detached.get())
    try:
        summary = run_stage(
            StageName.RUN, RunSettings(project=loaded.file, start=start), json=json, place=place_of(loaded)
        )
    finally:
        detached.reset(token)
    if summary is not None and not json:
        for done in summary["steps"]:
            if done["errors"] or done["warnings"]:
                out.print(f"{done['step']}: errors: {done['errors']}, warnings: {done['warnings']}")
        out.print(f"All steps of {loaded.name} are done. The merged model: {loaded.merged}")


def _show_plan(project: Project, start: StepName | None, json: bool) -> None:
    wanted = steps_from(start)
    rows, busy = [], False
    for status in step_statuses(project):
        first = status.step is start
        runs = status.step in wanted and (first or busy or status.state is not StepState.DONE)
        busy = busy or runs
        rows.append((status, runs))
    if json:
        print_json(
            [
                {"step": status.step, "state": status.state, "why": status.why, "runs": runs}
                for status, runs in rows
            ]
        )
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "state", "runs", "why"):
        table.add_column(heading, overflow="fold")
    for status, runs in rows:
        table.add_row(status.step, status.state, "yes" if runs else "no", Text(status.why))
    out.print(table, soft_wrap=False)
