"""Going on from a checkpoint with another batch: where the run stands, how much is left, and what it means.

Batch, accumulation and devices may change from one start to the next. What a run has done is known in clips
(`RunState.coverage`), so nothing is lost by it: the epoch goes on with the clips that it had not come to, and
the learning-rate schedule with the share of the run that is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...config.settings import TrainSettings
from ...messages import Message, joined
from .sampler import Position, Recut, Sampler

if TYPE_CHECKING:  # it loads torch, and planning a run does not
    from .checkpoints import RunState


@dataclass(frozen=True)
class Standing:
    """Where a run stands when it starts."""

    step: int = 0
    """Optimizer steps that are done."""
    position: Position = field(default_factory=Position)
    recut: Recut | None = None
    """The epoch of `position`, if only a part of it is left to plan."""

    @classmethod
    def of(cls, state: RunState | None, settings: TrainSettings) -> Standing:
        """Return where a checkpoint's run stands under today's settings; without one, at its beginning."""
        if state is None:
            return cls()
        position = Position(state.epoch, state.micro_batch)
        if state.settings.get("batch_tokens") == settings.batch_tokens:
            recut = None if state.left is None else Recut(state.epoch, state.left.numpy().astype(bool))
            return cls(state.step, position, recut)
        if position.micro_batch == 0 and state.left is None:
            return cls(state.step, position)
        # Every clip was seen once in each epoch before this one, and those it has come to once more.
        left = state.coverage.numpy() <= state.epoch
        return cls(state.step, Position(state.epoch), Recut(state.epoch, left) if not left.all() else None)


@dataclass(frozen=True)
class Horizon:
    """Where a run ends, as far as that is known."""

    end: Position | None = None
    """None = no limit of epochs."""
    total_steps: int | None = None
    """Steps of the whole run, those that are done included."""
    schedule_shift: int = 0
    """See `schedule.learning_rate`."""

    @classmethod
    def of(
        cls, epochs: float | None, max_steps: int | None, standing: Standing, sampler: Sampler, whole: Sampler
    ) -> Horizon:
        """Return where a run with these limits ends.

        Args:
            sampler: plans what is left.
            whole: plans the whole run as it would be, had all of it been with today's settings.
        """
        if epochs is None:
            return cls(None, max_steps)
        end = sampler.end(epochs)
        left = sampler.count_steps(end, standing.position)
        total = standing.step + left
        if max_steps is not None and max_steps < total:
            return cls(end, max_steps)
        shift = whole.count_steps(whole.end(epochs)) - total if standing.step else 0
        return cls(end, total, shift)


def describe_changes(state: RunState, settings: TrainSettings, per_step: int) -> tuple[str, str] | None:
    """Return what another batch than the checkpoint's means, as message and hint; None if it is the same.

    Args:
        per_step: micro-batches an optimizer step today, over all processes.
    """
    tokens, before_tokens = settings.batch_tokens, state.settings.get("batch_tokens", settings.batch_tokens)
    before = state.per_step or _noted_per_step(state) or per_step
    if (tokens, per_step) == (before_tokens, before):
        return None
    message = Message(
        "From step {step} on, an optimizer step takes up to {per_step} × {tokens} tokens; "
        "until now it took up to {before} × {before_tokens}.",
        step=state.step + 1,
        per_step=per_step,
        tokens=tokens,
        before=before,
        before_tokens=before_tokens,
    )
    hint = Message(
        "Every clip is still seen once per epoch, and epochs and the learning-rate schedule "
        "continue from the share of the run that is done."
    )
    if settings.max_steps is not None:
        steps = Message(
            "--max-steps still counts optimizer steps, so it now stands for another number of epochs."
        )
        hint = joined([hint, steps])
    if tokens * per_step != before_tokens * before:
        same = Message("For the same effective batch, keep devices × accumulation × batch tokens.")
        hint = joined([hint, same])
    return message, hint


def _noted_per_step(state: RunState) -> int | None:
    noted = [state.settings.get(name) for name in ("accumulation", "devices", "num_nodes")]
    numbers = [number for number in noted if isinstance(number, int)]
    return math.prod(numbers) if len(numbers) == len(noted) else None
