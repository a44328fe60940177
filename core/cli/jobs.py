"""`fishtune jobs`, `attach`, `stop`, `logs`, `resume`: what runs, watching it, ending it, going on."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..errors import FishtuneError, JobError, UsageError
from ..events import Failed, Progress, Step, Stopped
from ..files import size_of
from ..jobs.again import settings_again
from ..jobs.find import job_named, jobs_of, newest_job, places_in, recent_places
from ..jobs.follow import EventFollower, LineFollower, last_events
from ..jobs.post_mortem import describe_loss
from ..jobs.record import Job, JobState, Place
from ..jobs.start import declare_lost, start_job, stop_job
from ..pipeline.old_jobs import old_jobs, remove_job
from ..stages.registry import StageName
from ..terminal import visible_output
from ..units import format_bytes, format_count, format_duration
from . import completion
from .console import err, out, print_json
from .display import display_events
from .options import Json
from .running import places_here, without_ends

_POLL_SECONDS = 0.2
_EVENTS_SHOWN = 30
_LINES_SHOWN = 50
_LOOKED_BACK = 200
"""Events read from the end to find how far a job is."""

JobId = Annotated[
    str | None,
    typer.Argument(
        metavar="ID",
        help="The job, or enough of its id to know it. Without it: the newest that runs, else the newest.",
        autocompletion=completion.jobs,
    ),
]
Project = Annotated[str | None, typer.Option(metavar="NAME", help="Only jobs of this project.")]
Results = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Results folder to look in, instead of this project's.")
]


def jobs(
    project: Project = None,
    results: Results = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Jobs of all projects used lately.")] = False,
    clear: Annotated[
        bool,
        typer.Option(
            "--clear",
            help="Remove what old jobs left (events, log). Trainings stay, as does the newest job of every "
            "other stage, and its newest that finished. Asks first.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --clear: do not ask.")] = False,
    json: Json = False,
) -> None:
    """List the jobs of this project: what runs, how far it is, how it ended.

    Example: fishtune jobs --all
    """
    found = jobs_of(_places(project, results, everywhere))
    if clear:
        _clear(found, yes=yes, json=json)
        return
    if yes:
        raise UsageError("--yes goes with --clear.", "List the jobs without it: fishtune jobs")
    if json:
        print_json([_as_json(job) for job in found])
        return
    if not found:
        out.print("No jobs here. Start one with: fishtune start STAGE … (jobs of other projects: --all)")
        return
    table = Table(box=None, pad_edge=False)
    # The id begins with date and time; it must stay whole, because the other commands take it.
    table.add_column("job", no_wrap=True, min_width=max(len(job.id) for job in found))
    table.add_column("state", no_wrap=True)
    table.add_column("done", no_wrap=True, justify="right")
    table.add_column("took", no_wrap=True, justify="right")
    table.add_column("project", overflow="fold")
    lost: dict[tuple[str, str], Job] = {}
    for job in found:
        state = job.state()
        if state is JobState.LOST:
            lost[job.record.project, job.record.stage] = job
        else:
            lost.pop((job.record.project, job.record.stage), None)  # it went on since
        table.add_row(
            Text(job.id),
            Text(_state_words(job, state), style=_STYLES.get(state, "")),
            _share(job),
            format_duration(_seconds(job, state)),
            Text(job.record.project),
        )
    out.print(table, soft_wrap=False)
    for job in lost.values():
        what, hint = describe_loss(job)
        out.print(f"\n{job.id}: {what}\n  → {hint}")


def _clear(found: list[Job], *, yes: bool, json: bool) -> None:
    """Remove the jobs that nothing asks for any more, once the user agrees."""
    old = old_jobs(found)
    listed = [_as_json(job) for job in old] if json else []
    if not old:
        err.print("No old jobs here: what is there is still needed.")
    else:
        what = (
            f"{format_count(len(old), 'old job')} ({format_bytes(sum(size_of(job.folder) for job in old))})"
        )
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(
                    "{what} would be removed, and nobody can be asked here.",
                    "If that is wanted: fishtune jobs --clear --yes",
                    what=what,
                )
            for job in old:
                err.print(f"{job.id}  {job.state()}  {job.record.project}")
            if not typer.confirm(f"Remove {what}? {len(found) - len(old)} stay.", err=True):
                err.print("Nothing was removed.")
                raise typer.Exit(1)
        for job in old:
            remove_job(job)
        err.print(f"Removed {what}.")
    if json:
        print_json(listed)


def attach(job_id: JobId = None, project: Project = None, results: Results = None) -> None:
    """Watch a job: its progress and what it says. Ctrl+C leaves it, and it goes on.

    Example: fishtune attach
    """
    job = _find(job_id, project, results)
    active = job.state() in _ACTIVE
    err.print(f"Job {job.id}. Ctrl+C leaves it running." if active else f"Job {job.id}")
    try:
        state = _watch(job, _EVENTS_SHOWN)
    except KeyboardInterrupt:
        err.print(f"Left; job {job.id} keeps running. Come back with: fishtune attach {job.id}")
        return
    raise typer.Exit(_conclude(job, state))


def stop(
    job_id: JobId = None,
    now: Annotated[
        bool, typer.Option("--now", help="End it within two seconds, unsaved work is lost.")
    ] = False,
    lost: Annotated[
        bool,
        typer.Option("--lost", help="Declare a job lost whose machine or container is gone for good."),
    ] = False,
    project: Project = None,
    results: Results = None,
) -> None:
    """Ask a job to finish its batch or step, save and end; waits until it has.

    Example: fishtune stop
    """
    job = _find(job_id, project, results)
    if lost:
        declare_lost(job)
        out.print(f"Job {job.id} is declared lost. Resume from what was saved with: fishtune resume {job.id}")
        return
    stop_job(job, now)
    if not now:
        err.print(f"Job {job.id} finishes what it is at and saves. Ctrl+C here does not change that.")
    try:
        state = _watch(job, 0, quiet_end=True)
    except KeyboardInterrupt:
        return
    event = job.outcome()
    out.print(f"Job {job.id}: {state}. {event.saved if isinstance(event, Stopped) else ''}".rstrip())


def logs(
    job_id: JobId = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as the log grows.")] = False,
    project: Project = None,
    results: Results = None,
) -> None:
    """Show a job's log: what happened, what libraries printed, the traceback of a failure.

    Example: fishtune logs --follow
    """
    job = _find(job_id, project, results)
    follower = LineFollower(job.log_path, _LINES_SHOWN if follow else None)
    if not follow and not job.log_path.exists():
        err.print(f"Job {job.id} has no log: it was never begun, or its log was removed.")
    try:
        while True:
            over = job.state().is_over
            while lines := follower.poll(1 << 20):
                sys.stdout.write(visible_output(b"".join(lines)))
            sys.stdout.flush()
            if over or not follow:
                return
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        return


def resume(job_id: JobId = None, project: Project = None, results: Results = None) -> None:
    """Start a job's stage again with the same settings; it goes on from what was saved.

    Flags that are for a first run (--clean, --overwrite, --resume CHECKPOINT, --from) are not repeated.

    Example: fishtune resume
    """
    job = _find(job_id, project, results)
    if job.state() is JobState.FINISHED:
        raise JobError(
            "Job {job} is finished: there is nothing to resume.",
            "Name another job (fishtune jobs), or start the stage again with its own command.",
            job=job.id,
        )
    settings, not_repeated = settings_again(job)
    try:
        os.chdir(job.record.folder)
    except (OSError, ValueError) as error:
        raise JobError(
            "{folder}, where job {job} ran, is gone.",
            "Start its stage again from the project's new folder.",
            folder=job.record.folder,
            job=job.id,
        ) from error
    started = start_job(StageName(job.record.stage), settings, job.place, resumed_from=job.id)
    if not_repeated:
        err.print(
            f"Not repeated, since it was for the first run: {', '.join(not_repeated)}. What that run had not "
            "come to yet is as it was before; the stage's own command with that flag starts over."
        )
    out.print(f"Started job {started.id}, going on from {job.id}.\n  watch:  fishtune attach {started.id}")


def _places(project: str | None, results: Path | None, everywhere: bool = False) -> list[Place]:
    places = recent_places() if everywhere else places_in(results.absolute()) if results else places_here()
    return [place for place in places if project in (None, place.project)]


def _find(job_id: str | None, project: str | None, results: Path | None) -> Job:
    places = _places(project, results)
    here = jobs_of(places)
    if job_id is None:
        return newest_job(here)
    try:
        return job_named(job_id, here)
    except JobError:
        return job_named(job_id, jobs_of([*places, *recent_places()]))


def _watch(job: Job, events_shown: int, *, quiet_end: bool = False) -> JobState:
    """Show a job's events until it is over or out of sight; return its state then."""
    follower = EventFollower(job.events_path, events_shown)
    with display_events() as display:
        show = without_ends(display) if quiet_end else display
        while True:
            state = job.refresh().state()  # looked at first: what it wrote until then is read below
            for event in follower.poll():
                show(event)
            if state not in _ACTIVE:
                return state
            time.sleep(_POLL_SECONDS)


def _conclude(job: Job, state: JobState) -> int:
    """Say how a job ended and return the exit code for it."""
    if state is JobState.LOST:
        what, hint = describe_loss(job.refresh())
        err.print(f"Job {job.id} is lost. {what}\n  → {hint}")
    elif state is JobState.ELSEWHERE:
        process = job.record.process
        err.print(
            f"Job {job.id} runs on {process.host if process else 'another machine'}, not here.\n"
            f"  → If that is gone for good, say so: fishtune stop --lost {job.id}"
        )
    elif state is JobState.FAILED:
        err.print(f"The whole log: fishtune logs {job.id}")
    return 0 if state is JobState.FINISHED else 1


_ACTIVE = (JobState.RUNNING, JobState.STARTING)
_STYLES = {
    JobState.RUNNING: "cyan",
    JobState.STARTING: "cyan",
    JobState.FINISHED: "green",
    JobState.FAILED: "red",
    JobState.LOST: "red",
    JobState.STOPPED: "yellow",
}


def _state_words(job: Job, state: JobState) -> str:
    if state is JobState.ELSEWHERE and job.record.process is not None:
        return f"on {job.record.process.host}"
    return str(state)


def _progress(job: Job) -> float | None:
    """Return how much of its work a job has done: of a training its steps, of a chain nothing.

    What training prepares, and one step of a chain, would else pass for the whole.
    """
    stage = job.record.stage
    if stage == StageName.RUN:
        return None
    if stage != StageName.TRAIN and job.state() is JobState.FINISHED:
        return 1.0  # some stages end before the most that they might have done
    try:
        events = last_events(job.events_path, _LOOKED_BACK)
    except FishtuneError:
        return None
    for event in reversed(events):
        if isinstance(event, Progress) and stage != StageName.TRAIN and event.total:
            return min(event.done / event.total, 1.0)
        if isinstance(event, Step) and event.total_steps:
            return min(event.step / event.total_steps, 1.0)
    return None


def _share(job: Job) -> str:
    progress = _progress(job)
    return "" if progress is None else f"{progress:.0%}"


def _seconds(job: Job, state: JobState) -> float:
    last = job.ended() or job.last_event()
    end = time.time() if state in _ACTIVE or last is None else last.time
    return max(end - job.record.created, 0.0)  # a clock may have been set back


def _as_json(job: Job) -> dict[str, Any]:
    state = job.state()
    last = job.outcome() if state is JobState.FAILED else None
    known: dict[str, Any] = {}
    if state is JobState.LOST:
        known["lost"], known["hint"] = describe_loss(job)
    elif isinstance(last, Failed):
        known["error"], known["message"], known["hint"] = last.error, last.message, last.hint
    return {
        "id": job.id,
        "project": job.record.project,
        "stage": job.record.stage,
        "state": state,
        "progress": _progress(job),
        "created": job.record.created,
        "seconds": _seconds(job, state),
        "host": job.record.process.host if job.record.process else None,
        "pid": job.record.process.pid if job.record.process else None,
        "folder": str(job.folder),
        **known,
    }
