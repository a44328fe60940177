"""How a project's steps stand: whether what each makes is there and up to date, and why, in a sentence.

Everything follows from what lies on the disk and from the jobs; nothing is remembered apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..config.project import Project, merge_record_path
from ..config.run_files import checkpoint_step
from ..config.settings import CODEC_FILE
from ..dataset.clips import SHARD_EXTENSION
from ..dataset.journal import Copied, copied
from ..errors import FishtuneError
from ..events import Finished
from ..jobs.post_mortem import describe_loss
from ..jobs.record import Job, JobState
from ..messages import Message, joined, plural
from ..shards.manifest import is_current
from ..stages.registry import StageName
from ..tables import read_json
from .seen import Seen, modified, see
from .steps import STAGE_OF, StepName, StepState, StepStatus


class _Verdict(NamedTuple):
    state: StepState
    why: Message
    needs: StepName | None = None


def step_statuses(project: Project) -> list[StepStatus]:
    """Return how every step of a project stands, in their order."""
    seen = see(project)
    judged = []
    for step, judge in _JUDGES.items():
        try:
            verdict = judge(seen)
        except FishtuneError as error:  # settings that do not fit, a file that cannot be read
            verdict = _Verdict(StepState.FAILED, joined([error.message, error.hint]))
        job = seen.newest.get(STAGE_OF[step])
        judged.append(_with_job(StepStatus(step, verdict.state, verdict.why, job, verdict.needs)))
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


def _dataset(seen: Seen) -> _Verdict:
    if seen.trouble:
        return _Verdict(StepState.READY, seen.trouble)
    if not seen.clips or seen.found is None:
        return _Verdict(
            StepState.READY, Message("{data} has no speaker folder with recordings.", data=seen.project.data)
        )
    begun = _unfinished_copy(seen)
    if begun is not None:
        return _Verdict(
            StepState.UNFINISHED,
            Message(
                "The normalisation into {data} ended early: {recordings} of {count} are there.",
                data=seen.project.data,
                recordings=begun.recordings,
                count=plural(begun.total, "{number} recording", "{number:,} recordings"),
            ),
        )
    speakers = plural(len(seen.found.speakers), "{number} speaker", "{number:,} speakers")
    what = Message("{count} of {speakers}", count=_clips(seen.clips), speakers=speakers)
    checked = seen.finished(StageName.VALIDATE)
    if checked is None:
        return _Verdict(StepState.READY, Message("{what}, not checked yet.", what=what))
    if not seen.went_through(StageName.VALIDATE, texts=True):
        return _Verdict(StepState.STALE, Message("{what}; some changed since the last check.", what=what))
    if _summary(checked).get("usable") == 0:
        return _Verdict(
            StepState.FAILED, Message("{what}, none of which can be used: see the findings.", what=what)
        )
    return _Verdict(StepState.DONE, Message("{what}, checked.", what=what))


def _unfinished_copy(seen: Seen) -> Copied | None:
    """Return how far the normalisation that made the data set got, if it did not get to its end."""
    if seen.finished(StageName.LOUDNESS_NORM) is not None:
        return None
    found = copied(seen.project.data)
    return found if found is not None and not found.is_whole else None


def _summary(job: Job) -> dict[str, Any]:
    """Return what a finished job's last event says of its result."""
    outcome = job.outcome()
    return outcome.summary if isinstance(outcome, Finished) else {}


def _model(seen: Seen) -> _Verdict:
    model = seen.project.model
    if seen.missing_model:
        return _Verdict(
            StepState.READY,
            Message(
                "{base} lacks {files}.",
                base=seen.project.base,
                files=", ".join(seen.missing_model),
            ),
        )
    return _Verdict(
        StepState.DONE,
        Message("The base model {model} is in {base}.", model=model.name, base=seen.project.base),
    )


def _extract(seen: Seen) -> _Verdict:
    if not seen.clips:
        return _Verdict(StepState.LOCKED, Message("It waits for recordings (Dataset)."), StepName.DATASET)
    if seen.coded == seen.clips:
        return _Verdict(StepState.DONE, Message("All {count} have codes.", count=_clips(seen.clips)))
    if CODEC_FILE in seen.missing_model:
        return _Verdict(
            StepState.LOCKED, Message("It waits for {file} (Model).", file=CODEC_FILE), StepName.MODEL
        )
    if seen.stale:
        return _Verdict(
            StepState.STALE,
            Message(
                "{stale} of {count} changed after extraction.", stale=seen.stale, count=_clips(seen.clips)
            ),
        )
    left = seen.clips - seen.coded
    job = seen.finished(StageName.EXTRACT)
    failed = _summary(job).get("failed") if job is not None else None
    could_not = len(failed) if isinstance(failed, list) else 0
    # What it could not do, it never will; codes that went since are another matter.
    if seen.coded and left <= could_not and seen.went_through(StageName.EXTRACT, texts=False):
        return _Verdict(
            StepState.DONE,
            Message(
                "{coded} of {count} have codes; {left} cannot be used.",
                coded=seen.coded,
                count=_clips(seen.clips),
                left=left,
            ),
        )
    return _Verdict(
        StepState.READY, Message("{coded} of {count} have codes.", coded=seen.coded, count=_clips(seen.clips))
    )


def _pack(seen: Seen) -> _Verdict:
    project = seen.project
    shards = sorted(project.protos.glob(f"*{SHARD_EXTENSION}")) if project.protos.is_dir() else []
    if shards and seen.found is not None and is_current(project.pack_settings()):
        return _Verdict(
            StepState.DONE,
            Message(
                "Packed: {count} in {folder}.",
                count=plural(len(shards), "{number} shard", "{number:,} shards"),
                folder=project.protos,
            ),
        )
    if not seen.coded:
        return _Verdict(StepState.LOCKED, Message("It waits for codes (Extract)."), StepName.EXTRACT)
    if shards:
        return _Verdict(StepState.STALE, Message("Codes, transcripts or settings changed after packing."))
    return _Verdict(StepState.READY, Message("{count} can be packed.", count=_clips(seen.coded)))


def _train(seen: Seen) -> _Verdict:
    project = seen.project
    shards = [modified(path) for path in project.protos.glob(f"*{SHARD_EXTENSION}")]
    if not shards:
        return _Verdict(StepState.LOCKED, Message("It waits for packed data (Pack)."), StepName.PACK)
    if seen.missing_model:
        return _Verdict(StepState.LOCKED, Message("It waits for the base model (Model)."), StepName.MODEL)
    if not seen.checkpoints:
        return _Verdict(StepState.READY, Message("Nothing is trained yet."))
    last = seen.checkpoints[-1]
    step = checkpoint_step(last)
    if min(shards) > modified(last):
        return _Verdict(StepState.STALE, Message("The data were packed again after step {step}.", step=step))
    wanted = project.train_settings()
    if wanted.max_steps is not None and step >= wanted.max_steps:
        return _Verdict(StepState.DONE, Message("Trained {step} steps.", step=step))
    job = seen.finished(StageName.TRAIN)
    limits = ("max_steps", "epochs", "max_minutes")
    if job is not None and all(job.record.settings.get(name) == getattr(wanted, name) for name in limits):
        return _Verdict(StepState.DONE, Message("Trained {step} steps.", step=step))
    return _Verdict(
        StepState.READY,
        Message(
            "Trained {step} of {total} steps; it continues from there."
            if wanted.max_steps
            else "Trained {step} steps; it continues from there.",
            step=step,
            total=wanted.max_steps or 0,
        ),
    )


def _merge(seen: Seen) -> _Verdict:
    project = seen.project
    if not seen.checkpoints:
        return _Verdict(StepState.LOCKED, Message("It waits for a checkpoint (Train)."), StepName.TRAIN)
    record = merge_record_path(project.merged)
    made = _merge_of(record) if project.merged.is_dir() else None
    if made is None:
        return _Verdict(
            StepState.READY,
            Message(
                "{count} to choose from.",
                count=plural(len(seen.checkpoints), "{number} checkpoint", "{number:,} checkpoints"),
            ),
        )
    merged, strength = made
    chosen = project.merge.checkpoint
    if chosen is not None and Path(chosen).name != merged.name:
        return _Verdict(
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
        return _Verdict(
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
        return _Verdict(
            StepState.STALE, Message("{used} is newer than {merged}.", used=used.name, merged=project.merged)
        )
    return _Verdict(
        StepState.DONE,
        Message("{merged} was merged from {checkpoint}.", merged=project.merged, checkpoint=merged.name),
    )


def _merge_of(record: Path) -> tuple[Path, float] | None:
    """Return which checkpoint the record of a merged directory names, at which strength; None without one."""
    try:
        content = read_json(record)
        # Records of the version before know of no strength.
        return Path(content["adapter"]["path"]), float(content.get("settings", {}).get("strength", 1))
    except (FishtuneError, KeyError, TypeError, ValueError, AttributeError):
        return None


_JUDGES: dict[StepName, Callable[[Seen], _Verdict]] = {
    StepName.DATASET: _dataset,
    StepName.MODEL: _model,
    StepName.EXTRACT: _extract,
    StepName.PACK: _pack,
    StepName.TRAIN: _train,
    StepName.MERGE: _merge,
}


def _clips(number: int) -> Message:
    return plural(number, "{number} clip", "{number:,} clips")
