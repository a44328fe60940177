"""A checkpoint of training as it is: its base with the training on top, nothing merged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError, UsageError
from ..events import Reporter
from ..model.base_hash import base_hash
from ..model.checkpoint import load_model
from ..model.dual_ar import DualAR
from .attach import apply_checkpoint
from .blending import at_strength, mean_of
from .files import check_fit, read_adapter, read_training_state


def base_of(checkpoint: Path, given: Path | None = None) -> Path:
    """Return the model directory that a checkpoint was trained on: the given one, else the one it names.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        UsageError: it names none, or that is gone.
    """
    if given is not None:
        return given
    settings = read_training_state(checkpoint).get("settings")
    noted = settings.get("base") if isinstance(settings, dict) else None
    if isinstance(noted, str) and os.path.isdir(noted):  # noqa: PTH112 - never raises
        return Path(noted)
    raise UsageError(
        "The base of {checkpoint} is not known or gone.",
        "Give its directory with --base-weight.",
        checkpoint=checkpoint,
    )


def load_unmerged(base: Path, checkpoints: Sequence[Path], strength: float, reporter: Reporter) -> DualAR:
    """Return the model of a base with the mean of what checkpoints of one run change, on the CPU.

    Args:
        strength: how much of that counts (`blending.at_strength`).

    Raises:
        CheckpointError: something cannot be read, or does not belong together.
        UsageError: the checkpoints are not of one run.
    """
    model = load_model(base)
    source = mean_of([read_adapter(checkpoint) for checkpoint in checkpoints])
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if source.base_sha256 is not None and source.base_sha256 != base_hash(base, reporter):
        raise CheckpointError(
            "{checkpoint} was trained on another base than {base}.",
            "Give the base it was trained on with --base-weight.",
            checkpoint=checkpoints[0],
            base=base,
        )
    check_fit(source, shapes, model.config.tie_word_embeddings, base)
    apply_checkpoint(model, at_strength(source, strength, model.get_parameter))
    return model
