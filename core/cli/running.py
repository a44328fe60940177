"""Running a stage from a command: in the foreground, or detached under `fishtune start`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from ..config.project import PROJECT_FILE, RESULTS, Project
from ..config.settings import TrainSettings
from ..config.strict import Table, parse_flags
from ..errors import FishtuneError, SettingsError
from ..events import Event, Failed, Stopped
from ..file_names import short_name
from ..files import absolute
from ..jobs.execute import is_first_rank, run_job, run_rank
from ..jobs.find import places_in
from ..jobs.record import Place
from ..jobs.start import new_job, start_job
from ..jobs.writer import Listener
from ..messages import Message, joined
from ..stages.registry import STAGES, StageName
from ..user_folders import state_folder
from .console import err, out, print_json
from .display import display_events

T = TypeVar("T", bound=Table)

_ABOUT_THE_DATA = {"exclude", "output"}

_NO_RUN_NAME = re.compile("[\x00-\x1f\x7f-\x9f\\\\\ud800-\udfff]")
detached: ContextVar[bool] = ContextVar("detached", default=False)
"""Whether stages are started as jobs of their own: set by `fishtune start`."""


def run_stage(
    stage: StageName | str, settings: Table, *, json: bool = False, place: Place | None = None
) -> dict[str, Any] | None:
    """Run a stage to its end with its progress on the terminal; under `fishtune start` only start it.

    Every run is a job: `fishtune jobs` lists it, others can watch and stop it, and its log is kept. Ctrl+C
    or SIGTERM asks the stage to stop at its next safe point, a second one ends it at once.

    Args:
        json: show no progress and write the result (or the started job) to standard output as JSON.
        place: where the job belongs; None = where `default_place` says.

    Returns:
        The result's model as JSON, or None where the command has nothing more to show: the stage was
        started detached, or this process is a further rank of a distributed run.

    Raises:
        FishtuneError: the stage failed.
        StopRequested: it was stopped.
    """
    name = StageName(stage)
    if not is_first_rank():
        run_rank(STAGES[name], settings)
        return None
    place = place or default_place(settings)
    if detached.get():
        job = start_job(name, settings, place)
        if json:
            print_json({"job": job.id, "folder": str(job.folder)})
        else:
            out.print(f"Started job {job.id}. It keeps running when this terminal closes.")
            out.print(f"  watch:  fishtune attach {job.id}\n  stop:   fishtune stop {job.id}")
        return None
    with new_job(name, settings, place) as (job, locks), display_events(quiet=json) as show:
        try:
            summary = run_job(job, locks, [without_ends(show)], redirect=True)
        except FishtuneError as error:
            if type(error) is not FishtuneError:
                raise
            # Nobody foresaw this one: whoever reports it needs the log.
            raise FishtuneError(
                error.message, joined([error.hint, Message("The log: {log}", log=job.log_path)])
            ) from error
    if json:
        print_json(summary)
    return summary


def without_ends(show: Listener) -> Listener:
    """Return a listener that leaves out failures and stops: they arrive as exceptions, printed once."""

    def listen(event: Event) -> None:
        if not isinstance(event, Failed | Stopped):
            show(event)

    return listen


def default_place(settings: Table | None = None) -> Place:
    """Return where jobs belong: to the run that training names, else to the project around this folder.

    Outside of any project they go to the user's state folder, apart for each working folder.
    """
    if isinstance(settings, TrainSettings):
        return Place(results=settings.results.absolute(), project=settings.project)
    return _place_around(find_project())


def _place_around(project: Project | None) -> Place:
    if project is not None:
        return Place(results=project.results, project=project.name)
    here = Path.cwd()
    key = hashlib.sha256(os.fsencode(here)).hexdigest()[:8]
    name = short_name(_NO_RUN_NAME.sub("_", here.name)) or "root"
    return Place(results=state_folder() / "results", project=f"{name}-{key}")


def places_here() -> list[Place]:
    """Return where the jobs of this folder may be: every run below its results, and `default_place`.

    A project file that cannot be read is said and left aside: jobs are seen and stopped without it.
    """
    try:
        project = find_project()
    except SettingsError as error:
        err.print(f"warning: {error.message}")
        project = None
    return list(dict.fromkeys([*places_in(results_of(project)), _place_around(project)]))


def results_of(project: Project | None) -> Path:
    """Return the results folder of a project; without one, this folder's."""
    return project.results if project else Path.cwd() / RESULTS


def find_project() -> Project | None:
    """Return the project of this folder or the nearest one above it, or None.

    A file above this folder that belongs to another user is not obeyed: it could send what is written here
    anywhere.

    Raises:
        SettingsError: there is a project file, and it cannot be read or has wrong keys or values. To go on
            without it would train on something else than was asked for.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / PROJECT_FILE
        if not file.is_file():
            continue
        if not _is_trusted(file, here):
            err.print(f"warning: {file} belongs to another user and is not used.")
            continue
        return Project.load(folder)
    return None


def project_settings(
    model: type[T],
    of_project: Callable[[Project], Table],
    elsewhere: dict[str, Any],
    data_field: str | None = None,
    /,
    **flags: Any,
) -> T:
    """Return the settings of a stage: flags over the project file's values over what holds elsewhere.

    Args:
        of_project: gives the stage's settings as the project around this folder has them.
        elsewhere: values that hold where there is no project.
        data_field: name of the field with the data set. Where a flag names another one than the project's,
            what the project says of its own (clips left out, where shards go) does not count.
        flags: what the command was given; None = not given.

    Raises:
        UsageError: a flag has a wrong value, or one is missing that no project gives.
        SettingsError: see `find_project`.
    """
    project = find_project()
    given = {name: value for name, value in flags.items() if value is not None}
    known = of_project(project).model_dump(exclude_unset=True) if project else {}
    if project and data_field in given and absolute(given[data_field]) != project.data:
        known = {name: value for name, value in known.items() if name not in _ABOUT_THE_DATA}
    return parse_flags(model, **elsewhere | known | given)


def _is_trusted(file: Path, here: Path) -> bool:
    """Return whether this user, root or the owner of this folder owns the project file."""
    if not hasattr(os, "geteuid"):
        return True
    try:
        return file.stat().st_uid in {os.geteuid(), 0, here.stat().st_uid}
    except OSError:
        return False
