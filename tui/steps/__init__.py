"""The six steps, one module each, imported when first opened."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from ...core.pipeline.steps import StepName

if TYPE_CHECKING:
    from .base import StepPane


def open_step(name: StepName) -> StepPane:
    """Return a new pane for a step."""
    module = importlib.import_module(f".{name}", __package__)
    return cast("StepPane", getattr(module, f"{name.capitalize()}Pane")())
