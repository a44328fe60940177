"""The settings with which a job's stage is started again."""

from __future__ import annotations

from ..config.options import flag_of
from ..config.settings import for_another_run
from ..config.strict import Table, parse
from ..errors import JobError
from ..redact import HIDDEN
from ..stages.registry import STAGES, StageName
from .follow import read_lines
from .record import JOB_FILE, Job

_BEGUN = (b'"progress"', b'"step"', b'"checkpoint"')
_SAVED = (b'"checkpoint"',)


def settings_again(job: Job) -> tuple[Table, list[str]]:
    """Return the settings to go on with, and the flags of the first run that are not repeated.

    A job that did not come to its work is simply begun once more, with everything that it was given. For
    training that means until its first checkpoint: `--resume CHECKPOINT` still says where to begin.

    Raises:
        JobError: its stage is unknown here, or it was given a password, which is not kept.
        SettingsError: its settings are not those of this version.
    """
    record = job.record
    if record.stage not in set(StageName):
        raise JobError(
            "Job {job} is of a stage that this version does not know.",
            "Use the version that began it.",
            job=job.id,
        )
    if HIDDEN in str(record.settings):
        raise JobError(
            "Job {job} was given a password or a token, which is not kept.",
            "Start its stage again with its own command: fishtune {stage} --help",
            job=job.id,
            stage=record.stage,
        )
    stage = STAGES[StageName(record.stage)]
    settings = parse(stage.settings_model(), record.settings, str(job.folder / JOB_FILE))
    wanted = _SAVED if record.stage == StageName.TRAIN else _BEGUN
    if not any(any(word in line for word in wanted) for line in read_lines(job.events_path)):
        return settings, []
    changed = for_another_run(settings)
    flags = [
        flag_of(type(settings), name)
        for name in type(settings).model_fields
        if getattr(settings, name) != getattr(changed, name)
    ]
    return changed, flags
