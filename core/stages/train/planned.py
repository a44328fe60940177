"""What a run will come to, as its sampler plans it. Opens no array library: displays read it."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PlannedRun(BaseModel):
    """A whole run from its beginning, on the packed data and with the settings as they are."""

    clips: int = Field(ge=1)
    """That are trained on."""
    held_out: int
    left_out: int
    """Too long for one sequence."""
    epochs: float | None
    """Passes over the training clips; None where only minutes limit it."""
    steps: int | None
    """Optimizer steps; None where only minutes limit it."""
    steps_per_epoch: float
    tokens_per_step: float
    """Of an ordinary step, padding included, over all devices."""
