"""Who speaks in an audition: the checkpoints of a run, or a single one, and what they are held against."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.run_files import ADAPTER_CONFIG, CHECKPOINTS, checkpoint_step, list_checkpoints
from ...config.settings import SPREAD, AuditionSettings
from ...errors import CheckpointError, UsageError
from ...judge.record import audition_folder, companion_folder
from ...judge.results import CandidateKind
from ...lora.files import read_training_state
from ...lora.unmerged import base_of
from ...model.families import is_model_directory
from ..inputs import refuse_candidate


@dataclass(frozen=True)
class Planned:
    """One that is to speak."""

    kind: CandidateKind
    path: Path | None
    folder: Path
    """Where its recordings go."""
    step: int | None = None
    strength: float = 1.0

    @property
    def modified(self) -> float | None:
        """Time of its file."""
        return None if self.path is None else self.path.stat().st_mtime


@dataclass(frozen=True)
class Plan:
    """Who speaks, and what training noted about them."""

    candidates: tuple[Planned, ...]
    base: Path
    protos: Path | None
    """The packed data set; None = not known."""
    held_out: float | None
    """Share of it that training held out; None = not known."""


def plan_candidates(settings: AuditionSettings) -> Plan:
    """Return who speaks: the base first, where it is asked for, then checkpoints by step.

    Raises:
        CheckpointError: what is named does not exist, or a checkpoint cannot be read.
        UsageError: the base is not known.
    """
    target = settings.checkpoint
    refuse_candidate(target)
    checkpoints = _checkpoints_of(target, settings)
    is_model = is_model_directory(target)
    noted = {} if is_model else read_training_state(checkpoints[-1]).get("settings")
    trained = noted if isinstance(noted, dict) else {}
    base = target if is_model else base_of(checkpoints[-1], settings.base_weight)
    protos = settings.protos or _noted_folder(trained, "protos")
    share = trained.get("held_out")
    if is_model:
        speakers = [Planned(CandidateKind.BASE, target, audition_folder(target))]
    else:
        strengths = dict.fromkeys(settings.strengths or [1.0])
        speakers = [
            Planned(
                CandidateKind.CHECKPOINT,
                checkpoint,
                audition_folder(checkpoint, strength),
                _step_of(checkpoint),
                strength,
            )
            for checkpoint in checkpoints
            for strength in strengths
            if strength > 0
        ]
        # Of no strength every checkpoint is the base, bit for bit: it speaks once.
        if settings.with_base or is_run(target) or 0 in strengths:
            speakers = [_base_of(checkpoints[-1], base), *speakers]
    return Plan(tuple(speakers), base, protos, share if isinstance(share, float) else None)


def recordings_of(plan: Plan) -> Planned:
    """Return the user's own recordings as a candidate."""
    assert plan.protos is not None
    run_folder = _run_folder(plan.candidates[-1].path)
    folder = (
        companion_folder(run_folder, CandidateKind.RECORDING) if run_folder else audition_folder(plan.protos)
    )
    return Planned(CandidateKind.RECORDING, None, folder)


def is_run(target: Path) -> bool:
    """Return whether a folder is that of a run, by its checkpoints."""
    return (target / CHECKPOINTS).is_dir() and not is_model_directory(target)


def _checkpoints_of(target: Path, settings: AuditionSettings) -> list[Path]:
    if not is_run(target):
        return [target]
    found = list_checkpoints(target)
    if not found:
        raise CheckpointError(
            "{run} has no checkpoints yet.", "Wait until training has saved one.", run=target
        )
    return found if settings.all else spread(found, SPREAD)


def spread(values: Sequence[Path], count: int) -> list[Path]:
    """Return `count` of the values, evenly spread, the first and last included; all if there are fewer."""
    if len(values) <= count:
        return list(values)
    return [values[round(place * (len(values) - 1) / (count - 1))] for place in range(count)]


def _base_of(checkpoint: Path, base: Path) -> Planned:
    run_folder = _run_folder(checkpoint)
    folder = companion_folder(run_folder, CandidateKind.BASE) if run_folder else audition_folder(base)
    return Planned(CandidateKind.BASE, base, folder)


def _run_folder(checkpoint: Path | None) -> Path | None:
    is_of_run = checkpoint is not None and checkpoint.parent.name == CHECKPOINTS
    return checkpoint.parent.parent if checkpoint is not None and is_of_run else None


def _step_of(checkpoint: Path) -> int | None:
    """Return the step of a checkpoint of training, or of the adapter folder beside one."""
    is_folder = (checkpoint / ADAPTER_CONFIG).is_file()
    try:
        return checkpoint_step(checkpoint.with_name(f"{checkpoint.name}.ckpt") if is_folder else checkpoint)
    except UsageError:
        return None


def _noted_folder(trained: dict[str, Any], name: str) -> Path | None:
    """Return the folder that training noted if it is still there."""
    noted = trained.get(name)
    return Path(noted) if isinstance(noted, str) and os.path.isdir(noted) else None  # noqa: PTH112 - never raises
