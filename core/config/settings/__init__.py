"""The settings of every stage: one model per stage, from flag, project file and job alike.

`…Options` are the choices a project file holds; `…Settings` add the resolved paths and are what an
engine call takes and what `job.json` records. Every field says its unit; what a user reads about it stands
here and nowhere else (`core/config/options.py`).
"""

from __future__ import annotations

from typing import TypeVar

from ..options import describe
from ..strict import Table
from .data import (
    ExtractOptions,
    ExtractSettings,
    LoudnessNormSettings,
    PackOptions,
    PackSettings,
    ValidateSettings,
)
from .listen import JudgeSettings, ListenerSettings, ListenSettings, PrepareSettings
from .model import DownloadSettings, ModelOptions, VerifySettings
from .notify import NotifyOptions
from .speech import SPREAD, AuditionOptions, AuditionSettings, MergeOptions, MergeSettings, SynthSettings
from .train import TrainOptions, TrainSettings
from .types import (
    CODEC_FILE,
    CODEC_PRESET,
    DEFAULT_MODEL,
    MODELS_FOLDER,
    BasePrecision,
    Checkpointing,
    Device,
    RunName,
    Seed,
    UserPath,
)

__all__ = [
    "CODEC_FILE",
    "CODEC_PRESET",
    "DEFAULT_MODEL",
    "MODELS_FOLDER",
    "SPREAD",
    "AuditionOptions",
    "AuditionSettings",
    "BasePrecision",
    "Checkpointing",
    "Device",
    "DownloadSettings",
    "ExtractOptions",
    "ExtractSettings",
    "JudgeSettings",
    "ListenSettings",
    "ListenerSettings",
    "LoudnessNormSettings",
    "MergeOptions",
    "MergeSettings",
    "ModelOptions",
    "NotifyOptions",
    "PackOptions",
    "PackSettings",
    "PrepareSettings",
    "RunName",
    "Seed",
    "SynthSettings",
    "TrainOptions",
    "TrainSettings",
    "UserPath",
    "ValidateSettings",
    "VerifySettings",
    "for_another_run",
]

T = TypeVar("T", bound=Table)


def for_another_run(settings: T) -> T:
    """Return the settings with which a stage continues what an earlier run with `settings` has done."""
    then = {
        field.name: field.first_run_only.then
        for field in describe(type(settings)).values()
        if field.first_run_only is not None
    }
    return settings.model_copy(update=then)
