"""The whole chain of a project: every step that is not up to date, in order, each as a job of its own.

Each stage has its own process, so that nothing of one (a network on the GPU, settings of a library) is left
for the next, and so that it goes on when the chain is killed: the next chain finds it and waits for it.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel

from .. import errors
from ..config.options import FirstRunOnly
from ..config.project import Project
from ..config.settings import UserPath
from ..config.strict import Table
from ..dataset.findings import Finding, Severity
from ..dataset.usage import DropReason, Usage
from ..errors import DataError, FishtuneError, JobError, StopRequested
from ..events import ClipsListed, Event, Failed, Finished, Reporter, Started, Stopped
from ..file_names import TEXT_EXTENSION
from ..jobs.follow import EventFollower
from ..jobs.post_mortem import describe_loss
from ..jobs.process import Liveness
from ..jobs.record import Job, JobState, Place
from ..jobs.signals import before_end
from ..jobs.start import start_job, stop_job
from ..judge.extra import can_listen
from ..judge.selection import Recommendation
from ..messages import Message
from ..stages.registry import StageName
from .choice import recommended
from .status import step_status
from .steps import STAGE_OF, StepName, StepState, StepStatus

_POLL_SECONDS = 0.1
_EXIT_SECONDS = 20.0


class RunSettings(Table):
    """`fishtune run`."""

    project: UserPath
    """The project file."""
    start: StepName | None = None
    """Begin with this step; earlier ones are not looked at."""
    again: Annotated[bool, FirstRunOnly(then=False)] = True
    """Do `start` whether it is up to date or not."""


class StepDone(BaseModel):
    """What became of one step."""

    step: StepName
    job: str | None
    """Id of its job; None where it was up to date."""
    why: Message
    errors: int = 0
    """Clips and other entries that the step found unusable or left out, in its newest job."""
    warnings: int = 0
    """What its newest job found doubtful."""


class RunResult(BaseModel):
    """Result of `run`."""

    steps: list[StepDone]


def steps_from(start: StepName | None) -> Sequence[StepName]:
    """Return the steps of a chain that begins with `start`, or all."""
    names = list(StepName)
    return names[names.index(start) :] if start is not None else names


def run(settings: RunSettings, reporter: Reporter) -> RunResult:
    """Do what is not up to date, in order; return what became of each step.

    Raises:
        FishtuneError: a step failed, or waits for something that no step of the chain makes.
        StopRequested: asked to stop; the step at work has saved.
    """
    done: list[StepDone] = []
    for step in steps_from(settings.start):
        reporter.check_stop("Every step until now is complete.")
        project = Project.load(settings.project)
        status = step_status(project, step)
        if status.state is StepState.DONE and not (settings.again and step is settings.start):
            reporter.log(f"{step}: up to date. {status.why}")
            done.append(_done(project, status, status.job, reporter))
            continue
        if step is StepName.MERGE and status.state not in (StepState.RUNNING, StepState.LOCKED):
            _audition(project, reporter)
        job = _job_for(project, status, reporter)
        with before_end(partial(_end, job)):
            _see_through(job, reporter)
        done.append(_done(project, status, job, reporter).model_copy(update={"job": job.id}))
    return RunResult(steps=done)


def _audition(project: Project, reporter: Reporter) -> None:
    """Listen to the run's checkpoints, so that the choice goes by what they say; it fails with a warning.

    Raises:
        StopRequested: asked to stop.
    """
    if not project.merge.audition or project.merge.checkpoint is not None or not can_listen():
        return
    try:
        settings = project.audition_settings(project.run_folder)
        job = start_job(StageName.AUDITION, settings, place_of(project))
        reporter.log(f"merge: checkpoints are listened to first, to choose one. Started job {job.id}.")
        with before_end(partial(_end, job)):
            _see_through(job, reporter)
    except StopRequested:
        raise
    except FishtuneError as error:
        reporter.warn(
            "The checkpoints could not be listened to: {reason}",
            "The choice goes by their held-out loss. Choose yourself with checkpoint in [merge].",
            reason=error.message,
        )


def _done(project: Project, status: StepStatus, job: Job | None, reporter: Reporter) -> StepDone:
    """Return what became of a step, with what its newest job left out.

    Raises:
        DataError: no clip of the data set can be used.
    """
    done = StepDone(step=status.step, job=None, why=status.why)
    outcome = job.refresh().outcome() if job is not None else None
    if not isinstance(outcome, Finished):
        return done
    summary = outcome.summary
    match status.step:
        case StepName.DATASET:
            return done.model_copy(update=_say_findings(project, summary, reporter))
        case StepName.EXTRACT:
            counts = {"errors": len(summary.get("failed", [])), "warnings": len(summary.get("left_out", []))}
            return done.model_copy(update=counts)
        case StepName.PACK:
            losses = [loss for loss in summary.get("dropped", []) if loss["reason"] != DropReason.EXCLUDED]
            return done.model_copy(update={"errors": len(losses) + len(summary.get("left_out", []))})
    return done


def _say_findings(project: Project, report: dict[str, Any], reporter: Reporter) -> dict[str, int]:
    """Tell what the check of the data set found, and return how many errors and warnings."""
    findings = [Finding.model_validate(item) for item in report.get("findings", [])]
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    warnings = len(findings) - errors
    if findings:
        first = findings[0]  # the worst
        if report.get("usable") == 0:
            raise DataError(
                "No clip in {data} can be used (errors: {errors}). The first: {first}",
                "{advice} All of them: {command}",
                data=project.data,
                errors=errors,
                first=first.what,
                advice=first.what_to_do,
                command=_check_command(project),
            )
        reporter.warn(
            "{data}: {usage} Errors: {errors}, warnings: {warnings}. The first: {first}",
            "All of them: {command}",
            usage=_usage(report).said,
            data=project.data,
            errors=errors,
            warnings=warnings,
            first=first.what,
            command=_check_command(project),
        )
    return {"errors": errors, "warnings": warnings}


def _usage(report: dict[str, Any]) -> Usage:
    """Return the count of a check; of one of an earlier version without the reasons."""
    if "usage" in report:
        return Usage.model_validate(report["usage"])
    return Usage(clips=report.get("usable", report["clips"]))


def _check_command(project: Project) -> str:
    extension = project.pack.text_extension
    option = f" --text-extension {shlex.quote(extension)}" if extension != TEXT_EXTENSION else ""
    return f"fishtune validate {shlex.quote(str(project.data))}{option}"


def step_settings(project: Project, step: StepName) -> Table:
    """Return the settings of a step's stage as the project has them.

    Where no checkpoint is chosen for merging, the recommended one is taken.

    Raises:
        FishtuneError: the project's settings do not suffice.
    """
    match step:
        case StepName.DATASET:
            return project.validate_settings()
        case StepName.MODEL:
            return project.download_settings()
        case StepName.EXTRACT:
            return project.extract_settings()
        case StepName.PACK:
            return project.pack_settings()
        case StepName.TRAIN:
            return project.train_settings()
        case StepName.MERGE:
            # What an earlier run of ours merged is replaced; merging still refuses anybody else's files.
            return with_checkpoint(project).merge_settings().model_copy(update={"overwrite": True})


def with_checkpoint(project: Project) -> Project:
    """Return the project with a checkpoint to merge: the chosen, else the recommended one if there is any."""
    if project.merge.checkpoint is not None or (best := recommended_checkpoint(project)) is None:
        return project
    chosen = project.model_copy(deep=True)
    chosen.merge.checkpoint = str(best.candidate.path)
    return chosen


def recommended_checkpoint(project: Project) -> Recommendation | None:
    """Return which checkpoint of a project to merge, with the reason, or None if there is none."""
    return recommended(place_of(project))


def place_of(project: Project) -> Place:
    """Return where a project's jobs and checkpoints lie."""
    return Place(results=project.results, project=project.name)


def _job_for(project: Project, status: StepStatus, reporter: Reporter) -> Job:
    if status.state is StepState.RUNNING and status.job is not None:
        reporter.log(f"{status.step}: job {status.job.id} is already running; waiting for it.")
        return status.job
    if status.state is StepState.LOCKED:
        raise JobError(
            "{step} cannot begin. {why}",
            "Begin with an earlier step: leave out --from, or see fishtune run --dry-run.",
            step=status.step.title(),
            why=status.why,
        )
    if status.state is StepState.UNFINISHED:
        raise JobError(
            "The {step} step is unfinished. {why}",
            "Continue it with the same command (fishtune loudness-norm or fishtune prepare), with fishtune "
            "resume, or in the wizard's step 1.",
            step=status.step,
            why=status.why,
        )
    job = start_job(STAGE_OF[status.step], step_settings(project, status.step), place_of(project))
    reporter.log(f"{status.step}: {status.why} Started job {job.id}.")
    if status.step is StepName.MERGE and project.merge.checkpoint is None:
        best = recommended_checkpoint(project)
        if best is not None:
            for sentence in best.out:
                reporter.log(f"merge: {sentence}")
            reporter.log(f"merge: {best.candidate.path.name} is taken. {best.reason}")
    return job


def _see_through(job: Job, reporter: Reporter) -> None:
    """Pass on a job's events until it finishes.

    Raises:
        FishtuneError: it failed or was lost.
        StopRequested: it was stopped.
    """
    follower = EventFollower(job.events_path)
    asked = False
    while True:
        if reporter.stop_requested and not asked:
            asked = True
            _pass_on_stop(job)
        state = job.refresh().state()
        for event in follower.poll():
            _pass_on(event, reporter)
        if state not in (JobState.RUNNING, JobState.STARTING):
            break
        time.sleep(_POLL_SECONDS)
    _await_exit(job)
    outcome = job.outcome()
    if isinstance(outcome, Stopped):
        raise StopRequested(outcome.saved)
    if isinstance(outcome, Failed):
        raise _error_of(outcome)
    if outcome is None:
        what, hint = describe_loss(job.refresh())
        raise JobError("Job {job} is lost. {reason}", hint, job=job.id, reason=what)


def _await_exit(job: Job) -> None:
    """Wait for the process itself: until it is gone it may hold the memory that the next stage needs."""
    process = job.refresh().record.process
    deadline = time.monotonic() + _EXIT_SECONDS
    while process is not None and process.liveness() is Liveness.ALIVE and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _end(job: Job) -> None:
    stop_job(job.refresh(), now=True)


def _pass_on_stop(job: Job) -> None:
    if job.refresh().state() is JobState.RUNNING:
        stop_job(job.refresh())


def _pass_on(event: Event, reporter: Reporter) -> None:
    if not isinstance(event, Started | Finished | Failed | Stopped | ClipsListed):
        reporter.emit(event)


def _error_of(event: Failed) -> FishtuneError:
    """Return the error that a job's last event tells of, as if it had been raised here."""
    kind = getattr(errors, event.error, FishtuneError)
    known = isinstance(kind, type) and issubclass(kind, FishtuneError)
    return (kind if known else FishtuneError)(event.message, event.hint)
