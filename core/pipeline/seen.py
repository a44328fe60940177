"""What lies on the disk of a project, and its jobs: what the steps are judged by.

Names, sizes, times and headers are looked at, no recording and no weights, so a wizard can ask every second.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..codec.config import CONFIG_FILE, codec_config, codec_identity
from ..config.presets import model_preset, preset_names
from ..config.project import Project
from ..config.run_files import list_checkpoints
from ..dataset.clips import CODES_EXTENSION, Scan
from ..dataset.headers import whole_codes_shape
from ..dataset.layout import scan
from ..dataset.origins import inputs_digest, is_of_other_codec, is_stale, origin_of
from ..dataset.usage import Usage
from ..errors import FishtuneError
from ..events import Finished
from ..files import size_and_time
from ..jobs.follow import last_events
from ..jobs.record import Job, JobState, Place, list_jobs
from ..messages import NOTHING, Message
from ..model.families import directory_family, family_of_name
from ..stages.registry import StageName

_JUDGED_BY: Final = frozenset({"source", "dropped", "usable", "failed"})
"""Of a job's result; all of it may be long, and is asked for every second."""
_FOLDERS: Final[dict[str, str]] = {
    StageName.VALIDATE: "data",
    StageName.LOUDNESS_NORM: "target",
    StageName.PREPARE: "out",
    StageName.DOWNLOAD: "local_dir",
    StageName.EXTRACT: "data",
    StageName.PACK: "output",
    StageName.VERIFY: "directory",
}
"""Which setting of a stage names the folder that its job is about."""


@dataclass(frozen=True)
class Seen:
    """What was seen of a project, for the steps that depend on it."""

    project: Project
    found: Scan | None
    trouble: Message
    """Why the data set cannot be listed."""
    missing_model: tuple[str, ...]
    """Files that the base model's directory lacks."""
    recordings: int
    """How many recordings can be extracted; what is to be left out does not count."""
    coded: int
    """Recordings whose codes are whole and made from them as they are, by the base's codec."""
    stale: int
    """Recordings that changed after extraction."""
    other_codec: int
    """Recordings whose codes another codec made than the base's."""
    checkpoints: tuple[Path, ...]
    newest: dict[StageName, Job]
    """Each stage's newest job on what the project names."""

    @cached_property
    def usage(self) -> Usage | None:
        """How many clips will be used, None where no check of the present files says it."""
        job = self.finished(StageName.VALIDATE)
        if job is None or self.found is None or not self.checked:
            return None
        dropped = summary_of(job).get("dropped")
        if not isinstance(dropped, dict):
            return None  # checked by an earlier version
        names = [clip.key for clip in self.found.all_clips]
        return Usage.after_check(names, dropped, self.project.dataset.exclude)

    @cached_property
    def checked(self) -> bool:
        """Whether the newest check went through the present recordings and transcripts."""
        return self.went_through(StageName.VALIDATE, texts=True)

    def went_through(self, stage: StageName, *, texts: bool) -> bool:
        """Whether a stage's newest job finished on the present recordings, and transcripts if `texts`.

        Names, sizes and times are compared with what they were, whatever the clock said. Where a job kept no
        record of them, its own time must do.
        """
        job = self.finished(stage)
        if job is None or self.found is None:
            return False
        if source := summary_of(job).get("source"):
            extension = self.project.pack.text_extension if texts else None
            return bool(source == inputs_digest(self.found, extension))
        files = [path for clip in self.found.clips for path in (*clip.audio, clip.text) if path]
        return job.record.created >= max(map(modified, files), default=0.0)

    def finished(self, stage: StageName) -> Job | None:
        """Return the newest job of a stage if it finished."""
        job = self.newest.get(stage)
        return job if job is not None and job.state() is JobState.FINISHED else None


def see(project: Project) -> Seen:
    """Return what there is of a project now."""
    trouble, found = NOTHING, None
    try:
        found = scan(project.data, project.pack.text_extension, project.dataset.exclude)
    except FishtuneError as error:
        trouble = error.message
    recordings = found.recordings if found else []
    codec = _codec_of(project)
    coded = stale = other_codec = 0
    for audio in recordings:
        codes = os.path.splitext(audio)[0] + CODES_EXTENSION  # noqa: PTH122 - asked for each of 20,000
        shape = _whole_shape(codes)
        if shape is None:
            continue
        try:
            origin = origin_of(codes)
            changed = is_stale(audio, codes, origin)
        except FishtuneError:
            continue
        if changed:
            stale += 1
        elif origin is not None and is_of_other_codec(origin, codec.identity):
            other_codec += 1
        elif codec.codebooks in (None, shape[0]):  # others are left to whoever made them
            coded += 1
    newest: dict[StageName, Job] = {}
    for job in list_jobs(Place(results=project.results, project=project.name)):
        if job.record.stage in set(StageName) and concerns(job, project):
            newest[StageName(job.record.stage)] = job
    return Seen(
        project=project,
        found=found,
        trouble=trouble,
        missing_model=missing_model_files(project),
        recordings=len(recordings),
        coded=coded,
        stale=stale,
        other_codec=other_codec,
        checkpoints=tuple(list_checkpoints(project.run_folder)),
        newest=newest,
    )


def concerns(job: Job, project: Project) -> bool:
    """Whether a job worked on what the project names: people also check and pack other folders."""
    named = {
        StageName.DOWNLOAD: project.base,
        StageName.PACK: project.protos,
        StageName.VERIFY: project.base,
    }
    used = folder_of(job)
    return used is None or used == os.path.normpath(named.get(StageName(job.record.stage), project.data))


def folder_of(job: Job) -> str | None:
    """Return the folder that a job worked on, None where it is the run itself or anything else."""
    record = job.record
    if record.stage not in _FOLDERS:
        return None
    return os.path.normpath(record.folder / str(record.settings.get(_FOLDERS[record.stage], "")))


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


def summary_of(job: Job) -> dict[str, Any]:
    """Return what a finished job's last event says of its result, as far as steps are judged by it."""
    found = size_and_time(job.events_path)
    return {} if found is None else _summary(job.events_path, *found)


@lru_cache(maxsize=64)
def _summary(events: Path, size: int, modified_ns: int) -> dict[str, Any]:  # noqa: ARG001 - part of the key
    try:
        last = last_events(events, 1)
    except FishtuneError:
        return {}
    summary = last[0].summary if last and isinstance(last[0], Finished) else {}
    return {name: value for name, value in summary.items() if name in _JUDGED_BY}


def modified(path: Path) -> float:
    """Return when a file was written, in seconds since the epoch; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _whole_shape(path: str) -> tuple[int, int] | None:
    found = size_and_time(path)
    return None if found is None else _shape(path, *found)


@lru_cache(maxsize=1 << 18)
def _shape(path: str, size: int, modified_ns: int) -> tuple[int, int] | None:  # noqa: ARG001 - part of the key
    return whole_codes_shape(Path(path))


class _Codec(NamedTuple):
    """What codes are held against."""

    identity: str = ""
    """Empty where no codec is there, or none that can be read: any codes will do."""
    codebooks: int | None = None


def _codec_of(project: Project) -> _Codec:
    try:
        settings = project.extract_settings()
    except FishtuneError:  # settings that do not fit; the step's own verdict says so
        return _Codec()
    weights = settings.checkpoint_path
    beside = size_and_time(weights.with_name(CONFIG_FILE))
    return _codec(weights, settings.config_name, size_and_time(weights), beside)


@lru_cache(maxsize=8)
def _codec(weights: Path, preset: str, *_: tuple[int, int] | None) -> _Codec:  # sizes and times: the key
    try:
        config = codec_config(weights, preset)
        identity = codec_identity(weights, config)
    except FishtuneError:
        return _Codec()
    return _Codec(identity, len(config.codebook_sizes)) if identity else _Codec()
