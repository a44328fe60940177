"""Running a stage from a command: in the foreground, or detached under `fishtune start`."""

from __future__ import annotations

import hashlib
import os
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..errors import FishtuneError, SettingsError
from ..events import Event, Failed, Stopped
from ..file_names import short_name
from ..jobs.execute import is_first_rank, run_job, run_rank
from ..jobs.find import places_in
from ..jobs.record import Place
from ..jobs.start import new_job, start_job
from ..jobs.writer import Listener
from ..project import PROJECT_FILE, Project
from ..recent import state_folder
from ..settings import TrainSettings
from ..stages import STAGES, StageName
from ..validation import Table
from .console import err, out, print_json
from .display import display_events

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
            out.print(f"Started job {job.id}. It goes on when this terminal closes.")
            out.print(f"  watch:  fishtune attach {job.id}\n  stop:   fishtune stop {job.id}")
        return None
    with new_job(name, settings, place) as (job, locks), display_events(quiet=json) as show:
        try:
            summary = run_job(job, locks, [without_ends(show)], redirect=True)
        except FishtuneError as error:
            if type(error) is not FishtuneError:
                raise
            # Nobody foresaw this one: whoever reports it needs the log.
            raise FishtuneError(error.message, f"{error.hint} The log: {job.log_path}") from error
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

    Outside of any project they go to the person's state folder, apart for each working folder.
    """
    if isinstance(settings, TrainSettings):
        return Place(results=settings.results.absolute(), project=settings.project)
    return _place_around(find_project())


def _place_around(project: Project | None) -> Place:
    if project is not None:
        return Place(results=project.results, project=project.name)
    here = Path.cwd()
    key = hashlib.sha256(os.fsencode(here)).hexdigest()[:8]
    return Place(results=state_folder() / "results", project=f"{short_name(here.name) or 'root'}-{key}")


def places_here() -> list[Place]:
    """Return where the jobs of this folder may be: every run below its results, and `default_place`."""
    project = find_project()
    results = project.results if project else Path.cwd() / "results"
    return list(dict.fromkeys([*places_in(results), _place_around(project)]))


def find_project() -> Project | None:
    """Return the project of this folder or the nearest one above it, or None.

    A project file that cannot be read counts as none here, with a warning: a stage's own flags suffice.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PROJECT_FILE).is_file():
            try:
                return Project.load(folder)
            except SettingsError as error:
                err.print(f"warning: {error.message}")
                return None
    return None
