"""Which checkpoint to merge: the earliest that is about as good as the best, and healthy.

The earliest one that sounds good enough usually generalises best; held-out losses that
differ by less than `WITHIN` are taken for equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..messages import NOTHING, Message, joined

WITHIN = 0.01
"""Share of the best held-out loss that another one may lie above it."""


@dataclass(frozen=True)
class Candidate:
    """What is known of a checkpoint."""

    step: int
    path: Path
    bytes: int = 0
    modified: float = 0.0
    """Unix time."""
    clip_passes: float | None = None
    validation_loss: float | None = None
    top_5_accuracy: float | None = None
    healthy: bool | None = None
    """Whether the audition found its speech sound; None = not listened to."""


@dataclass(frozen=True)
class Recommendation:
    """A checkpoint and the reason for it, in a sentence."""

    candidate: Candidate
    reason: Message


def recommend(candidates: Sequence[Candidate]) -> Recommendation | None:
    """Return the checkpoint to merge, or None if there is none.

    Those that the audition found unsound count only where all are.
    """
    if not candidates:
        return None
    ordered = sorted(candidates, key=lambda candidate: candidate.step)
    sound = [candidate for candidate in ordered if candidate.healthy is not False]
    caution = (
        NOTHING
        if sound
        else Message("None of the checkpoints generates sound speech: listen before you use it.")
    )
    measured = [
        (candidate.validation_loss, candidate)
        for candidate in sound or ordered
        if candidate.validation_loss is not None
    ]
    if not measured:
        last = (sound or ordered)[-1]
        return Recommendation(
            last, joined([Message("It is the last one; no held-out loss was measured."), caution])
        )
    best_loss, best = min(measured, key=lambda pair: pair[0])
    loss, chosen = next(pair for pair in measured if pair[0] <= best_loss * (1 + WITHIN))
    if chosen is best:
        reason = Message("It has the lowest held-out loss, {lowest:.3f}.", lowest=best_loss)
    else:
        reason = Message(
            "It is the earliest whose held-out loss, {loss:.3f}, is within {margin:.0%} of the "
            "lowest, {lowest:.3f} at step {step}.",
            loss=loss,
            margin=WITHIN,
            lowest=best_loss,
            step=best.step,
        )
    return Recommendation(chosen, joined([reason, caution]))
