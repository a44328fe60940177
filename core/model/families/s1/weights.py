"""Writing S1 weights whole, for the demo, tests and benchmarks; merging replaces tensors in a copy."""

from __future__ import annotations

from pathlib import Path

from ....compute.weights import save_archive
from ...dual_ar import DualAR
from . import files


def save_model(model: DualAR, directory: Path) -> None:
    """Write the weights of `model` into a checkpoint directory, atomically.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    save_archive(model.state_dict(), directory / files.WEIGHTS)
