"""The six steps of a project: what each needs and makes, and whether that is there and up to date.

Everything follows from what lies on the disk and from the jobs; nothing is remembered apart. Names, sizes,
times and headers are looked at, no recording and no weights, so a wizard can ask every second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..config.presets import model_preset, preset_names
from ..config.project import Project, merge_record_path
from ..config.run_files import checkpoint_step, list_checkpoints
from ..config.settings import CODEC_FILE
from ..dataset.clips import SHARD_EXTENSION, Scan
from ..dataset.headers import whole_codes_shape
from ..dataset.journal import Copied, copied
from ..dataset.layout import scan
from ..dataset.origins import inputs_digest, is_outdated
from ..errors import FishtuneError
from ..events import Finished
from ..jobs.post_mortem import describe_loss
from ..jobs.record import Job, JobState, Place, list_jobs
from ..messages import NOTHING, Message, joined, plural
from ..model.families import directory_family, family_of_name
from ..shards.manifest import is_current
from ..stages.registry import StageName
from ..tables import read_json


class StepName(StrEnum):
    """The steps, in their order."""

    DATASET = "dataset"
    MODEL = "model"
    EXTRACT = "extract"
    PACK = "pack"
    TRAIN = "train"
    MERGE = "merge"


STAGE_OF = {
    StepName.DATASET: StageName.VALIDATE,
    StepName.MODEL: StageName.DOWNLOAD,
    StepName.EXTRACT: StageName.EXTRACT,
    StepName.PACK: StageName.PACK,
    StepName.TRAIN: StageName.TRAIN,
    StepName.MERGE: StageName.MERGE,
}
"""The stage that does a step."""


class StepState(StrEnum):
    """How a step stands."""

    DONE = "done"
    READY = "ready"
    RUNNING = "running"
    UNFINISHED = "unfinished"
    """Ended early; what there is must not be taken for the whole."""
    STALE = "stale"
    """Done once, but what it was made from has changed."""
    FAILED = "failed"
    """Its last job failed or was lost, and it is not done."""
    LOCKED = "locked"
    """It waits for an earlier step."""


@dataclass(frozen=True)
class StepStatus:
    """How a step stands, and why, in a sentence."""

    step: StepName
    state: StepState
    why: Message
    job: Job | None = None
    """The step's newest job."""
    needs: StepName | None = None
    """The earlier step that a locked one waits for."""


class _Verdict(NamedTuple):
    state: StepState
    why: Message
    needs: StepName | None = None


@dataclass(frozen=True)
class _Look:
    """What was seen, for the steps that depend on it."""

    project: Project
    found: Scan | None
    trouble: Message
    missing_model: tuple[str, ...]
    coded: int
    stale: int
    checkpoints: tuple[Path, ...]
    newest: dict[StageName, Job]

    @property
    def clips(self) -> int:
        return len(self.found.utterances) if self.found else 0

    def went_through(self, stage: StageName, *, texts: bool) -> bool:
        """Whether a stage's newest job finished on the present recordings, and transcripts if `texts`.

        Names, sizes and times are compared with what they were, whatever the clock said. Where a job kept no
        record of them, its own time must do.
        """
        job = self.finished(stage)
        if job is None or self.found is None:
            return False
        outcome = job.outcome()
        source = outcome.summary.get("source") if isinstance(outcome, Finished) else None
        if source:
            extension = self.project.pack.text_extension if texts else None
            return bool(source == inputs_digest(self.found, self.project.dataset.exclude, extension))
        files = [path for clip in self.found.clips for path in (*clip.audio, clip.text) if path]
        return job.record.created >= max(map(_modified, files), default=0.0)

    def finished(self, stage: StageName) -> Job | None:
        """Return the newest job of a stage if it finished."""
        job = self.newest.get(stage)
        return job if job is not None and job.state() is JobState.FINISHED else None


def step_statuses(project: Project) -> list[StepStatus]:
    """Return how every step of a project stands, in their order."""
    look = _look(project)
    judged = []
    for step, judge in _JUDGES.items():
        try:
            verdict = judge(look)
        except FishtuneError as error:  # settings that do not fit, a file that cannot be read
            verdict = _Verdict(StepState.FAILED, joined([error.message, error.hint]))
        job = look.newest.get(STAGE_OF[step])
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


def _look(project: Project) -> _Look:
    trouble, found = NOTHING, None
    try:
        found = scan(project.data, project.pack.text_extension, project.dataset.exclude)
    except FishtuneError as error:
        trouble = error.message
    coded = stale = 0
    for utterance in found.utterances if found else ():
        codes = utterance.codes_path
        if not _is_whole(codes):
            continue
        try:
            is_stale = is_outdated(codes, utterance.audio)
        except FishtuneError:
            continue
        stale += is_stale
        coded += not is_stale
    newest: dict[StageName, Job] = {}
    for job in list_jobs(Place(results=project.results, project=project.name)):
        if job.record.stage in set(StageName) and concerns(job, project):
            newest[StageName(job.record.stage)] = job
    return _Look(
        project=project,
        found=found,
        trouble=trouble,
        missing_model=missing_model_files(project),
        coded=coded,
        stale=stale,
        checkpoints=tuple(list_checkpoints(project.run_folder)),
        newest=newest,
    )


def concerns(job: Job, project: Project) -> bool:
    """Whether a job worked on what the project names: people also check and pack other folders."""
    record = job.record
    folders = {
        StageName.VALIDATE: ("data", project.data),
        StageName.LOUDNESS_NORM: ("target", project.data),
        StageName.DOWNLOAD: ("local_dir", project.base),
        StageName.EXTRACT: ("data", project.data),
        StageName.PACK: ("output", project.protos),
        StageName.VERIFY: ("directory", project.base),
    }
    if record.stage not in folders:
        return True
    field, folder = folders[StageName(record.stage)]
    used = os.path.normpath(record.folder / str(record.settings.get(field, "")))
    return used == os.path.normpath(folder)


def missing_model_files(project: Project) -> tuple[str, ...]:
    """Return which files the base model's directory lacks."""
    wanted, optional = model_files(project)
    return tuple(name for name in wanted if name not in optional and not (project.base / name).is_file())


def model_files(project: Project) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the files of the base model, and which of them it may lack."""
    family = directory_family(project.base)
    if family is not None:
        return family.needed_files(project.base), family.optional_files
    name = project.model.name
    family = family_of_name(name)
    files = tuple(model_preset(name).files) if name in preset_names("models") else family.files
    return files, family.optional_files


def _dataset(look: _Look) -> _Verdict:
    if look.trouble:
        return _Verdict(StepState.READY, look.trouble)
    if not look.clips or look.found is None:
        return _Verdict(
            StepState.READY, Message("{data} has no speaker folder with recordings.", data=look.project.data)
        )
    begun = _unfinished_copy(look)
    if begun is not None:
        return _Verdict(
            StepState.UNFINISHED,
            Message(
                "The normalisation into {data} ended early: {recordings} of {count} are there.",
                data=look.project.data,
                recordings=begun.recordings,
                count=plural(begun.total, "{number} recording", "{number:,} recordings"),
            ),
        )
    speakers = plural(len(look.found.speakers), "{number} speaker", "{number:,} speakers")
    what = Message("{count} of {speakers}", count=_clips(look.clips), speakers=speakers)
    checked = look.finished(StageName.VALIDATE)
    if checked is None:
        return _Verdict(StepState.READY, Message("{what}, not checked yet.", what=what))
    if not look.went_through(StageName.VALIDATE, texts=True):
        return _Verdict(StepState.STALE, Message("{what}; some changed since the last check.", what=what))
    if _summary(checked).get("usable") == 0:
        return _Verdict(
            StepState.FAILED, Message("{what}, none of which can be used: see the findings.", what=what)
        )
    return _Verdict(StepState.DONE, Message("{what}, checked.", what=what))


def _unfinished_copy(look: _Look) -> Copied | None:
    """Return how far the normalisation that made the data set got, if it did not get to its end."""
    if look.finished(StageName.LOUDNESS_NORM) is not None:
        return None
    found = copied(look.project.data)
    return found if found is not None and not found.is_whole else None


def _summary(job: Job) -> dict[str, Any]:
    """Return what a finished job's last event says of its result."""
    outcome = job.outcome()
    return outcome.summary if isinstance(outcome, Finished) else {}


def _model(look: _Look) -> _Verdict:
    model = look.project.model
    if look.missing_model:
        return _Verdict(
            StepState.READY,
            Message(
                "{base} lacks {files}.",
                base=look.project.base,
                files=", ".join(look.missing_model),
            ),
        )
    return _Verdict(
        StepState.DONE,
        Message("The base model {model} is in {base}.", model=model.name, base=look.project.base),
    )


def _extract(look: _Look) -> _Verdict:
    if not look.clips:
        return _Verdict(StepState.LOCKED, Message("It waits for recordings (Dataset)."), StepName.DATASET)
    if look.coded == look.clips:
        return _Verdict(
            StepState.DONE,
            plural(look.clips, "The clip has its codes.", "All {number:,} clips have codes."),
        )
    if CODEC_FILE in look.missing_model:
        return _Verdict(
            StepState.LOCKED, Message("It waits for {file} (Model).", file=CODEC_FILE), StepName.MODEL
        )
    if look.stale:
        return _Verdict(
            StepState.STALE,
            Message(
                "{stale} of {count} changed after extraction.", stale=look.stale, count=_clips(look.clips)
            ),
        )
    left = look.clips - look.coded
    job = look.finished(StageName.EXTRACT)
    failed = _summary(job).get("failed") if job is not None else None
    could_not = len(failed) if isinstance(failed, list) else 0
    # What it could not do, it never will; codes that went since are another matter.
    if look.coded and left <= could_not and look.went_through(StageName.EXTRACT, texts=False):
        return _Verdict(
            StepState.DONE,
            Message(
                "{coded} of {count} have codes; {left} cannot be used.",
                coded=look.coded,
                count=_clips(look.clips),
                left=left,
            ),
        )
    return _Verdict(
        StepState.READY, Message("{coded} of {count} have codes.", coded=look.coded, count=_clips(look.clips))
    )


def _pack(look: _Look) -> _Verdict:
    project = look.project
    shards = sorted(project.protos.glob(f"*{SHARD_EXTENSION}")) if project.protos.is_dir() else []
    if shards and look.found is not None and is_current(project.pack_settings()):
        return _Verdict(
            StepState.DONE,
            Message(
                "Packed: {count} in {folder}.",
                count=plural(len(shards), "{number} shard", "{number:,} shards"),
                folder=project.protos,
            ),
        )
    if not look.coded:
        return _Verdict(StepState.LOCKED, Message("It waits for codes (Extract)."), StepName.EXTRACT)
    if shards:
        return _Verdict(StepState.STALE, Message("Codes, transcripts or settings changed after packing."))
    return _Verdict(StepState.READY, Message("{count} can be packed.", count=_clips(look.coded)))


def _train(look: _Look) -> _Verdict:
    project = look.project
    shards = [_modified(path) for path in project.protos.glob(f"*{SHARD_EXTENSION}")]
    if not shards:
        return _Verdict(StepState.LOCKED, Message("It waits for packed data (Pack)."), StepName.PACK)
    if look.missing_model:
        return _Verdict(StepState.LOCKED, Message("It waits for the base model (Model)."), StepName.MODEL)
    if not look.checkpoints:
        return _Verdict(StepState.READY, Message("Nothing is trained yet."))
    last = look.checkpoints[-1]
    step = checkpoint_step(last)
    if min(shards) > _modified(last):
        return _Verdict(StepState.STALE, Message("The data were packed again after step {step}.", step=step))
    wanted = project.train_settings()
    if wanted.max_steps is not None and step >= wanted.max_steps:
        return _Verdict(StepState.DONE, _trained(step))
    job = look.finished(StageName.TRAIN)
    limits = ("max_steps", "epochs", "max_minutes")
    if job is not None and all(job.record.settings.get(name) == getattr(wanted, name) for name in limits):
        return _Verdict(StepState.DONE, _trained(step))
    return _Verdict(
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


def _merge(look: _Look) -> _Verdict:
    project = look.project
    if not look.checkpoints:
        return _Verdict(StepState.LOCKED, Message("It waits for a checkpoint (Train)."), StepName.TRAIN)
    record = merge_record_path(project.merged)
    made = _merge_of(record) if project.merged.is_dir() else None
    if made is None:
        return _Verdict(
            StepState.READY,
            Message(
                "{count} to choose from.",
                count=plural(len(look.checkpoints), "{number} checkpoint", "{number:,} checkpoints"),
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
    used = look.checkpoints[-1].with_name(merged.name) if chosen else look.checkpoints[-1]
    if _modified(used) > _modified(record):
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


_JUDGES: dict[StepName, Callable[[_Look], _Verdict]] = {
    StepName.DATASET: _dataset,
    StepName.MODEL: _model,
    StepName.EXTRACT: _extract,
    StepName.PACK: _pack,
    StepName.TRAIN: _train,
    StepName.MERGE: _merge,
}


def _trained(step: int) -> Message:
    return plural(step, "Trained {number} step.", "Trained {number} steps.")


def _clips(number: int) -> Message:
    return plural(number, "{number} clip", "{number:,} clips")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _is_whole(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return _has_whole_codes(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1 << 18)
def _has_whole_codes(path: Path, modified_ns: int, size: int) -> bool:  # noqa: ARG001 - part of the key
    return whole_codes_shape(path) is not None
