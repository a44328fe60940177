"""The six steps of a project: their names, the stage that does each, and how one can stand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ..jobs.record import Job
from ..messages import Message
from ..stages.registry import StageName


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
    share: Share | None = None
    """How many clips it concerns, where it is not all."""


class Share(NamedTuple):
    """So many of so many."""

    part: int
    whole: int


NO_CLIPS = Share(0, 0)
"""Of a data set without any."""


class Verdict(NamedTuple):
    """What the disk says of a step."""

    state: StepState
    why: Message
    needs: StepName | None = None
    share: Share | None = None
