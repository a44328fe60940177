"""Measured peaks, so that the next prediction for the same GPU, versions and settings is better.

Kept in the user's cache folder as one JSON file, written atomically. It may be lost or damaged at any
time; then predictions are merely uncorrected.
"""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ...errors import FishtuneError, StorageError
from ...files import write_json
from ...tables import read_json
from ...user_folders import cache_folder
from .estimate import MemoryEstimate
from .setups import fingerprint

FILE_NAME: Final = "memory.json"
_KEPT: Final = 200  # entries
_LARGEST: Final = 1 << 20  # bytes; entries have about 250
_BELIEVABLE: Final = (0.5, 3.0)  # a factor outside of this says that something else was measured


class Setting(BaseModel):
    """What a measurement holds for: everything but the size of the batch."""

    model_config = ConfigDict(frozen=True)

    gpu: str
    """Its name; GPUs of one name are alike."""
    stage: str
    """`train` or `extract`."""
    what: str
    """Fingerprint of the model's shape and of the settings that the arithmetic depends on."""
    torch: str
    """Version of torch."""

    @classmethod
    def of(cls, gpu: str, stage: str, *settings: Any) -> Setting:
        """Return the setting of `stage` on a GPU.

        Args:
            settings: values whose `repr` tells them apart, such as a set-up.
        """
        return cls(gpu=gpu, stage=stage, what=fingerprint(*settings), torch=version("torch"))


class Measurement(BaseModel):
    """A predicted and a measured peak."""

    model_config = ConfigDict(frozen=True)

    setting: Setting
    predicted: int
    """`MemoryEstimate.varying` before any correction."""
    measured: int
    """The same of what torch had reserved: its peak less the weights, adapters, gradients and optimizer."""
    time: float

    @property
    def factor(self) -> float:
        """How many times the predicted bytes were used."""
        return self.measured / self.predicted


_MEASUREMENTS = TypeAdapter(list[Measurement])


class MeasurementCache:
    """The file of measurements.

    Args:
        file: None = in the user's cache folder.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or cache_folder() / FILE_NAME

    def read(self) -> list[Measurement]:
        """Return all believable measurements, the oldest first; none if the file is missing or damaged."""
        try:
            found = _MEASUREMENTS.validate_python(read_json(self.file, _LARGEST))
        except (FishtuneError, ValidationError):
            return []
        low, high = _BELIEVABLE
        return [one for one in found if one.predicted > 0 and low <= one.factor <= high]

    def factor(self, setting: Setting) -> float:
        """Return by how much a prediction for `setting` must be corrected: 1 where nothing was measured.

        Of several measurements the largest batch counts, where fixed allowances weigh least.
        """
        found = [measurement for measurement in self.read() if measurement.setting == setting]
        return max(found, key=lambda measurement: measurement.predicted).factor if found else 1.0

    def record(self, setting: Setting, estimate: MemoryEstimate, reserved: int) -> None:
        """Keep that an uncorrected `estimate` came to `reserved` bytes (`torch.cuda.max_memory_reserved`).

        A new measurement takes the place of one of the same setting and size. What is not believable, and
        what cannot be written, is not kept.
        """
        measured = reserved - (estimate.reserved - estimate.varying)
        measurement = Measurement(
            setting=setting, predicted=estimate.varying, measured=measured, time=time.time()
        )
        low, high = _BELIEVABLE
        if estimate.varying <= 0 or not low <= measurement.factor <= high:
            return
        others = [
            other
            for other in self.read()
            if (other.setting, other.predicted) != (setting, measurement.predicted)
        ]
        kept = [*others, measurement][-_KEPT:]
        try:
            write_json(self.file, _MEASUREMENTS.dump_python(kept, mode="json"))
        except (StorageError, OSError):
            return  # a correction is a convenience; a full disk has its own message elsewhere
