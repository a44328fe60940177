"""Checkpoints of a run: what they hold and must agree with; what they are called is in `names`.

The adapter folder is written first and the `.ckpt` last, both atomically, so where there is a `.ckpt` the
checkpoint is complete. The Lightning checkpoint's `state_dict` has the trained parameters only, as
`model.<name>`; its entry `fishtune` is a `RunState`. No random generator is stored: every draw is a function
of the seed, the epoch and the micro-batch (`randomness`), hence of the position that is stored. The learning
rate is a function of the step and the settings likewise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch.plugins import CheckpointIO
from pydantic import BaseModel, ConfigDict

from ...compute.weights import (
    read_archive,
    refuse_not_finite,
    refuse_not_real,
    save_archive,
    unwrap_state_dict,
)
from ...config.presets import LoraPreset
from ...config.run_files import adapter_folder
from ...config.settings import BasePrecision, TrainSettings
from ...errors import CheckpointError, TrainingError
from ...files import remove
from ...lora.files import TRAINING_STATE
from ...lora.injection import adaptable_modules
from ...messages import Message, joined
from ...model.checkpoint import build_model
from ...model.directory import ModelDirectory
from ...model.targets import match_targets


class Identity(BaseModel):
    """What a checkpoint and a run that goes on from it must have in common."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # batch_tokens was part of it once

    method: Literal["lora", "full"]
    rank: int
    alpha: float
    dropout: float
    targets: list[str]
    use_rslora: bool
    use_dora: bool
    base_sha256: str
    data_sha256: str
    prompt: str
    reference_probability: float
    held_out: float
    max_length: int
    seed: int
    base_precision: BasePrecision | None = None

    @classmethod
    def of(cls, settings: TrainSettings, preset: LoraPreset, base_sha256: str, data_sha256: str) -> Identity:
        """Return the identity of a run."""
        return cls(
            **preset.model_dump(include=set(_OF_PRESET)),
            **settings.model_dump(include=set(_OF_SETTINGS)),
            base_sha256=base_sha256,
            data_sha256=data_sha256,
        )

    def differences(self, stored: Identity) -> list[Message]:
        """Return what differs from a checkpoint's identity, one phrase each."""
        return [
            Message(
                "{key}: {there} there, {now} now",
                key=_WORDS.get(name, name),
                there=_short(there),
                now=_short(now),
            )
            for name, there, now in zip(Identity.model_fields, *_values(stored, self), strict=True)
            if there != now
        ]


_OF_PRESET = ("method", "rank", "alpha", "dropout", "targets", "use_rslora", "use_dora")
_OF_SETTINGS = ("prompt", "reference_probability", "held_out", "max_length", "seed", "base_precision")
_WORDS = {"base_sha256": Message("the base's weights"), "data_sha256": Message("the data set")}


def _values(*identities: Identity) -> list[list[Any]]:
    return [[getattr(identity, name) for name in Identity.model_fields] for identity in identities]


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text


class RunState(BaseModel):
    """What Lightning does not know about a run. Plain values; `coverage` is an int64 tensor."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)

    version: Literal[1] = 1
    identity: Identity
    settings: dict[str, Any]
    preset: dict[str, Any]
    step: int
    epoch: int
    micro_batch: int
    """`epoch` and `micro_batch` are the sampler's position."""
    coverage: torch.Tensor
    """Passes of every training clip."""
    clip_passes: float
    held_out_guard: dict[str, Any]
    plateau_guard: dict[str, Any]
    validation_loss: float | None
    """Held-out loss of this step; None where none was measured at it."""
    base_loss: float | None = None
    """Held-out loss of the base, measured before the first step; None where it was not."""
    per_step: int | None = None
    """Micro-batches an optimizer step, over all processes; None = not noted."""
    left: torch.Tensor | None = None
    """`sampler.Recut.left` of `epoch`, bool; None where the epoch is planned whole."""

    @property
    def own_validation_loss(self) -> float | None:
        """Held-out loss of exactly this step. The version before noted the last one, of whatever step."""
        guard = self.held_out_guard
        is_of_best = self.validation_loss == guard.get("best_loss")
        if self.per_step is None and is_of_best and guard.get("best_step") != self.step:
            return None
        return self.validation_loss


class AtomicCheckpointIO(CheckpointIO):
    """Writes Lightning checkpoints whole or not at all, and reads them without executing anything."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ARG002 - the interface's
    ) -> None:
        """Write a checkpoint; see `weights.save_archive` for errors."""
        save_archive(checkpoint, Path(path))

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,  # noqa: ARG002
        weights_only: bool | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Return a checkpoint with its tensors on the CPU; see `weights` for errors."""
        content: dict[str, Any] = read_archive(Path(path))
        weights = unwrap_state_dict(content, Path(path))
        refuse_not_real(weights, Path(path))
        refuse_not_finite(weights.items(), Path(path))
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its adapter folder."""
        remove_checkpoint(Path(path))


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove a checkpoint; the `.ckpt` goes first, so that no incomplete one is ever listed."""
    remove(checkpoint)
    remove(adapter_folder(checkpoint))


def read_run_state(checkpoint: Path) -> RunState:
    """Return what a checkpoint says about its run.

    Raises:
        CheckpointError: it cannot be read, or training here did not write it.
    """
    content = read_archive(checkpoint)
    try:
        return RunState.model_validate(content[TRAINING_STATE])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            "{checkpoint} is not a checkpoint that fishtune train can resume from.",
            "Name one of results/NAME/checkpoints, written by this version.",
            checkpoint=checkpoint,
        ) from error


def check_identity(
    now: Identity, batch_tokens: int, state: RunState, checkpoint: Path, base: ModelDirectory
) -> None:
    """Refuse to go on from a checkpoint of another kind of run.

    Args:
        batch_tokens: today's; it may differ as long as the same clips fit.
        base: whose modules the targets of both match: other patterns for the same modules are the same run.

    Raises:
        TrainingError: names everything that differs.
    """
    stored = state.identity
    if now.targets != stored.targets and _adapted(now, base) == _adapted(stored, base):
        stored = stored.model_copy(update={"targets": now.targets})
    differences = now.differences(stored)
    if not differences:
        return
    hint = Message("Use the former settings and files, or start a new run under another --project.")
    before = state.settings.get("batch_tokens")
    if now.data_sha256 != state.identity.data_sha256 and batch_tokens != before:
        other_batch = Message(
            "If the shards are the same, it is for --batch-tokens: other clips fit into "
            "{now} than into the former {before}. Choose it so that the same clips fit.",
            now=batch_tokens,
            before=before,
        )
        hint = joined([other_batch, hint])
    raise TrainingError(
        "This run cannot resume from {checkpoint}; it differs in {differences}.",
        hint,
        checkpoint=checkpoint,
        differences=joined(differences, "; "),
    )


def _adapted(identity: Identity, base: ModelDirectory) -> set[str]:
    modules = adaptable_modules(build_model(base.shape, base.tokenizer, base.path))
    return {name for names in match_targets(identity.targets, modules).values() for name in names}
