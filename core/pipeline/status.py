"""How a project's steps stand: whether what each makes is there and up to date, and why, in a sentence.

Everything follows from what lies on the disk and from the jobs; nothing is remembered apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..config.project import Project, merge_record_path
from ..config.run_files import checkpoint_step, merged_from
from ..dataset.clips import SHARD_EXTENSION
from ..errors import FishtuneError
from ..jobs.post_mortem import describe_loss
from ..jobs.record import JobState
from ..messages import Message, joined, plural
from ..stages.registry import StageName
from ..tables import read_json
from .data_verdicts import dataset_verdict, extract_verdict, pack_verdict
from .seen import Seen, modified, see
from .steps import STAGE_OF, StepName, StepState, StepStatus, Verdict


def step_statuses(project: Project) -> list[StepStatus]:
    """Return how every step of a project stands, in their order."""
    seen = see(project)
    judged = []
    for step, judge in _JUDGES.items():
        try:
            verdict = judge(seen)
        except FishtuneError as error:  # settings that do not fit, a file that cannot be read
            verdict = Verdict(StepState.FAILED, joined([error.message, error.hint]))
        job = seen.newest.get(STAGE_OF[step])
        judged.append(
            _with_job(StepStatus(step, verdict.state, verdict.why, job, verdict.needs, verdict.share))
        )
    return judged


def step_status(project: Project, step: StepName) -> StepStatus:
    """Return how one step of a project stands."""
    return next(status for status in step_statuses(project) if status.step is step)


def _with_job(status: StepStatus) -> StepStatus:
    """Let a running job, or one that ended badly, speak before what lies on the disk."""
    if status.job is None:
        return status
    state, job = status.job.state(), status.job
    if state in (JobState.RUNNING, JobState.STARTING):
        return StepStatus(status.step, StepState.RUNNING, Message("Job {job} is running.", job=job.id), job)
    if status.state in (StepState.DONE, StepState.UNFINISHED, StepState.LOCKED):
        return status
    if state is JobState.LOST:
        return StepStatus(status.step, StepState.FAILED, describe_loss(job)[0], job)
    outcome = job.outcome()
    if state is JobState.FAILED and outcome is not None and outcome.kind == "failed":
        return StepStatus(status.step, StepState.FAILED, outcome.message, job)
    return status


def _model(seen: Seen) -> Verdict:
    model = seen.project.model
    if not seen.project.base.is_dir():
        return Verdict(
            StepState.READY, Message("There is no base model yet in {base}.", base=seen.project.base)
        )
    if seen.missing_model:
        return Verdict(
            StepState.READY,
            Message(
                "{base} lacks {files}.",
                base=seen.project.base,
                files=", ".join(seen.missing_model),
            ),
        )
    return Verdict(
        StepState.DONE,
        Message("The base model {model} is in {base}.", model=model.name, base=seen.project.base),
    )


def _train(seen: Seen) -> Verdict:
    project = seen.project
    shards = [modified(path) for path in project.protos.glob(f"*{SHARD_EXTENSION}")]
    if not shards:
        return Verdict(StepState.LOCKED, Message("It waits for packed data (Pack)."), StepName.PACK)
    if seen.missing_model:
        return Verdict(StepState.LOCKED, Message("It waits for the base model (Model)."), StepName.MODEL)
    if not seen.checkpoints:
        return Verdict(StepState.READY, Message("Nothing is trained yet."))
    last = seen.checkpoints[-1]
    step = checkpoint_step(last)
    if min(shards) > modified(last):
        return Verdict(StepState.STALE, Message("The data were packed again after step {step}.", step=step))
    wanted = project.train_settings()
    if wanted.max_steps is not None and step >= wanted.max_steps:
        return Verdict(StepState.DONE, _trained(step))
    job = seen.finished(StageName.TRAIN)
    limits = ("max_steps", "epochs", "max_minutes")
    if job is not None and all(job.record.settings.get(name) == getattr(wanted, name) for name in limits):
        return Verdict(StepState.DONE, _trained(step))
    return Verdict(
        StepState.READY,
        plural(
            wanted.max_steps,
            "Trained {step} of {number} step; it continues from there.",
            "Trained {step} of {number} steps; it continues from there.",
            step=step,
        )
        if wanted.max_steps
        else plural(
            step,
            "Trained {number} step; it continues from there.",
            "Trained {number} steps; it continues from there.",
        ),
    )


def _trained(step: int) -> Message:
    return plural(step, "Trained {number} step.", "Trained {number} steps.")


def _merge(seen: Seen) -> Verdict:
    project = seen.project
    if not seen.checkpoints:
        return Verdict(StepState.LOCKED, Message("It waits for a checkpoint (Train)."), StepName.TRAIN)
    record = merge_record_path(project.merged)
    made = _merge_of(record) if project.merged.is_dir() else None
    if made is None:
        return Verdict(
            StepState.READY,
            Message(
                "{count} to choose from.",
                count=plural(len(seen.checkpoints), "{number} checkpoint", "{number:,} checkpoints"),
            ),
        )
    merged, strength = made
    chosen = project.merge.checkpoint
    if chosen is not None and Path(chosen).name != merged.name:
        return Verdict(
            StepState.STALE,
            Message(
                "{merged} was merged from {checkpoint}, not from {chosen}.",
                merged=project.merged,
                checkpoint=merged.name,
                chosen=chosen,
            ),
        )
    wanted = project.merge.strength
    if "strength" in project.merge.model_fields_set and wanted != strength:
        return Verdict(
            StepState.STALE,
            Message(
                "{merged} was merged at strength {strength:g}, not at {wanted:g}.",
                merged=project.merged,
                strength=strength,
                wanted=wanted,
            ),
        )
    used = seen.checkpoints[-1].with_name(merged.name) if chosen else seen.checkpoints[-1]
    if modified(used) > modified(record):
        return Verdict(
            StepState.STALE, Message("{used} is newer than {merged}.", used=used.name, merged=project.merged)
        )
    return Verdict(
        StepState.DONE,
        Message("{merged} was merged from {checkpoint}.", merged=project.merged, checkpoint=merged.name),
    )


def _merge_of(record: Path) -> tuple[Path, float] | None:
    """Return which checkpoint the record of a merged directory names, at which strength; None without one."""
    try:
        content = read_json(record)
        checkpoint = merged_from(content)
        # Records of the version before know of no strength.
        strength = float(content.get("settings", {}).get("strength", 1))
    except (FishtuneError, TypeError, ValueError, AttributeError):
        return None
    return None if checkpoint is None else (checkpoint, strength)


_JUDGES: dict[StepName, Callable[[Seen], Verdict]] = {
    StepName.DATASET: dataset_verdict,
    StepName.MODEL: _model,
    StepName.EXTRACT: extract_verdict,
    StepName.PACK: pack_verdict,
    StepName.TRAIN: _train,
    StepName.MERGE: _merge,
}
