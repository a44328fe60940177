"""What the disk says about a project, in the words of the screens. Runs in a thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..core.config.project import Project
from ..core.config.run_files import list_checkpoints
from ..core.errors import FishtuneError
from ..core.jobs.record import Job, JobState, Place, list_jobs
from ..core.messages import Message, joined
from ..core.pipeline.seen import concerns
from ..core.pipeline.status import step_statuses
from ..core.pipeline.steps import Share, StepName, StepState, StepStatus
from ..core.stages.registry import StageName
from .catalogue import _, mark, sentence
from .wording import count

TITLES = {
    StepName.DATASET: mark("Dataset"),
    StepName.MODEL: mark("Model"),
    StepName.EXTRACT: mark("Extract"),
    StepName.PACK: mark("Pack"),
    StepName.TRAIN: mark("Train"),
    StepName.MERGE: mark("Merge"),
}
WORDS = {
    StepState.DONE: mark("done"),
    StepState.READY: mark("ready"),
    StepState.RUNNING: mark("running"),
    StepState.UNFINISHED: mark("unfinished"),
    StepState.STALE: mark("needs update"),
    StepState.FAILED: mark("failed"),
    StepState.LOCKED: mark("locked"),
}
_SIDE_STAGES = {
    str(StageName.LOUDNESS_NORM): StepName.DATASET,
    str(StageName.PREPARE): StepName.DATASET,
    str(StageName.AUDITION): StepName.MERGE,
    str(StageName.VERIFY): StepName.MODEL,
}
"""Stages that no step is done by, but that are started and followed in one."""


@dataclass(frozen=True)
class ShownStep:
    """A step as it stands: `word` for the list of steps, `sentence` for the top of its pane."""

    name: StepName
    state: StepState
    word: str
    sentence: str
    needs: StepName | None = None
    """The earlier step that a locked one waits for."""
    share: Share | None = None
    """So many of so many clips, where that is not all."""

    @property
    def title(self) -> str:
        """Key of its title in the catalogue."""
        return TITLES[self.name]


@dataclass(frozen=True)
class ProjectState:
    """Everything that was seen."""

    steps: tuple[ShownStep, ...] = ()
    jobs: dict[StepName, Job] = field(default_factory=dict)
    """Newest job of each step."""
    running: frozenset[StepName] = frozenset()
    checkpoints: tuple[Path, ...] = ()
    """Of training, oldest step first."""

    def step(self, name: StepName) -> ShownStep:
        """Return the status of one step."""
        return next(step for step in self.steps if step.name is name)

    @property
    def first_to_do(self) -> StepName:
        """The running step, else the first that is not done, else the last."""
        if self.running:
            return next(name for name in StepName if name in self.running)
        return next((step.name for step in self.steps if step.state is not StepState.DONE), StepName.MERGE)


def not_seen(error: FishtuneError) -> ProjectState:
    """Return the state of a project that could not be looked at: every step says why."""
    told = sentence(joined([error.message, error.hint]))
    return ProjectState(
        steps=tuple(ShownStep(step, StepState.FAILED, _(WORDS[StepState.FAILED]), told) for step in StepName)
    )


def inspect_project(project: Project) -> ProjectState:
    """Return the state of all steps. A folder that cannot be read is a state, not an error."""
    statuses = step_statuses(project)
    jobs = {status.step: status.job for status in statuses if status.job is not None}
    running = {status.step for status in statuses if status.state is StepState.RUNNING}
    steps = [_in_words(status) for status in statuses]
    for job in list_jobs(Place(results=project.results, project=project.name)):
        step = _SIDE_STAGES.get(job.record.stage)
        if step is StepName.MODEL and not concerns(job, project):
            continue  # a merged directory was verified
        other = jobs.get(step) if step is not None else None
        if step is None or (other is not None and other.record.created > job.record.created):
            continue
        jobs[step] = job
        if job.state() in (JobState.RUNNING, JobState.STARTING):
            running.add(step)
            at = list(StepName).index(step)
            why = Message("Job {job} is running.", job=job.id)
            steps[at] = ShownStep(step, StepState.RUNNING, _("running"), sentence(why))
    return ProjectState(
        steps=tuple(steps),
        jobs=jobs,
        running=frozenset(running),
        checkpoints=tuple(list_checkpoints(project.run_folder)),
    )


def _in_words(status: StepStatus) -> ShownStep:
    word = _(WORDS[status.state])
    if status.needs is not None:
        word = _("needs {step}").format(step=_(TITLES[status.needs]))
    share = status.share
    if share is not None and status.state in (StepState.DONE, StepState.UNFINISHED):
        numbers = _("{part} of {whole}").format(part=count(share.part), whole=count(share.whole))
        word = numbers if status.state is StepState.DONE else f"{word}, {numbers}"
    return ShownStep(status.step, status.state, word, sentence(status.why), status.needs, share)
