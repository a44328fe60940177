"""The stages: what each is called, takes and writes, and which engine call does it.

Nothing heavy is imported here: engines are named and loaded when a stage runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from ..config.strict import Table
from ..events import Reporter
from ..messages import NOTHING, Message


class StageName(StrEnum):
    """Names of the stages, as commands and job folders have them."""

    VALIDATE = "validate"
    LOUDNESS_NORM = "loudness-norm"
    DOWNLOAD = "download"
    EXTRACT = "extract"
    PACK = "pack"
    TRAIN = "train"
    MERGE = "merge"
    SYNTH = "synth"
    AUDITION = "audition"
    VERIFY = "verify"
    JUDGE = "judge"
    PREPARE = "prepare"
    RUN = "run"


@dataclass(frozen=True)
class Stage:
    """One stage.

    `settings` and `engine` are `module:name` inside `core/`; the engine is a function
    `run(settings, reporter) -> result` (docs/architecture.md).
    """

    name: StageName
    settings: str
    engine: str
    writes: str = ""
    """Field of the settings with the folder that a run writes and other projects might write too."""
    begins: Message = NOTHING
    """What takes the first seconds, before the engine itself can speak."""

    def settings_model(self) -> type[Table]:
        """Return the model of the stage's settings."""
        return cast("type[Table]", load_attribute(self.settings))

    def written_folder(self, settings: Table) -> Path | None:
        """Return the folder that a run writes and that other projects might write too, if any."""
        return cast("Path", getattr(settings, self.writes)) if self.writes else None

    def run(self, settings: Table, reporter: Reporter) -> BaseModel:
        """Run the stage in this process and return its result."""
        load_attribute("stages.inputs:refuse_missing_inputs")(settings)
        if self.begins:
            reporter.phase(self.begins)
        engine = cast("Callable[[Table, Reporter], BaseModel]", load_attribute(self.engine))
        return engine(settings, reporter)


def load_attribute(name: str) -> Any:
    """Return what `module:name` names inside `core/`."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f"..{module}", __package__), attribute)


STAGES: dict[StageName, Stage] = {
    stage.name: stage
    for stage in (
        Stage(StageName.VALIDATE, "config.settings:ValidateSettings", "stages.validate.run:run"),
        Stage(
            StageName.LOUDNESS_NORM,
            "config.settings:LoudnessNormSettings",
            "stages.loudness_norm.run:run",
            "target",
        ),
        Stage(StageName.DOWNLOAD, "config.settings:DownloadSettings", "stages.download.run:run", "local_dir"),
        Stage(StageName.EXTRACT, "config.settings:ExtractSettings", "stages.extract.run:run", "data"),
        Stage(StageName.PACK, "config.settings:PackSettings", "stages.pack.run:run", "output"),
        Stage(
            StageName.TRAIN,
            "config.settings:TrainSettings",
            "stages.train.run:run",
            begins=Message("loading torch"),
        ),
        Stage(StageName.MERGE, "config.settings:MergeSettings", "stages.merge.run:run", "output"),
        Stage(StageName.SYNTH, "config.settings:SynthSettings", "stages.synth.run:run"),
        Stage(StageName.AUDITION, "config.settings:AuditionSettings", "report.auditioned:run"),
        Stage(StageName.VERIFY, "config.settings:VerifySettings", "stages.verify.run:run"),
        Stage(StageName.JUDGE, "config.settings:JudgeSettings", "stages.judge.run:run"),
        Stage(StageName.PREPARE, "config.settings:PrepareSettings", "stages.prepare.run:run", "out"),
        Stage(StageName.RUN, "pipeline.chain:RunSettings", "pipeline.chain:run"),
    )
}
