"""The proof of a merge: merged weights compute what base + adapter compute in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel

from ...compute.devices import is_out_of_memory, resolve_device
from ...errors import CheckpointError
from ...events import Reporter
from ...lora.agreement import Agreement, Logits, captured_change, compare_logits, compute_logits
from ...lora.files import Adapter, FullWeights
from ...model.checkpoint import load_model
from ...model.directory import ModelDirectory
from .side_by_side import Order, TrainedParts, place_side_by_side, trained_parts
from .versions import Versions

_LARGEST_DIFFERENCE = 1e-4
"""Relative difference of logits that float32 arithmetic in another order explains."""


class Verification(BaseModel):
    """The numbers of a comparison on fixed inputs, all computed in float32."""

    arithmetic: Agreement
    """Merged weights before rounding, against base + adapter as training computes it: must be equal."""
    merged: Agreement
    """Merged weights as they are stored, against base + adapter: the difference is rounding."""
    effect: Agreement
    """Base + adapter against the base: how much the adapter changes."""
    captured: float
    """How much of that change the stored weights make: the slope of their change over it; 1 is all."""


def verify_merge(
    base: ModelDirectory,
    merged: Path,
    source: Adapter | FullWeights,
    sources: Sequence[Adapter | FullWeights],
    strength: float,
    reporter: Reporter,
) -> Verification:
    """Compare merged weights with base + adapter, in one pass over both, and return the numbers.

    Args:
        merged: checkpoint directory with the merged weights.
        source: what was merged.
        sources: the checkpoints that it is made of, at `strength`.

    Raises:
        CheckpointError: the base holds what is not a number, a stored weight is not what it must be, or the
            merged weights compute something else.
        StopRequested: asked to stop.
    """
    order = Order.of(source)
    parts = trained_parts(source, sources, strength)
    logits = _logits(base, merged, source, parts, reporter)
    plain, trained, changed, stored = (
        logits[place] for place in (0, order.trained, order.changed, order.stored)
    )
    verification = Verification(
        arithmetic=compare_logits(changed, trained),
        merged=compare_logits(stored, trained),
        effect=compare_logits(trained, plain),
        captured=captured_change(stored, trained, plain),
    )
    if not verification.arithmetic.relative_difference <= _LARGEST_DIFFERENCE:
        raise CheckpointError(
            "The merged weights do not compute what base and adapter compute: their logits "
            "differ by {difference:.2g}, at most {limit:g} is noise.",
            "Nothing was written. Please report this with the configurations of both.",
            difference=verification.arithmetic.relative_difference,
            limit=_LARGEST_DIFFERENCE,
        )
    if verification.captured < 0.5:
        # The base lies on the dtype's grid, so a change below half a step vanishes altogether.
        dtype = str(next(load_model(merged).parameters()).dtype).removeprefix("torch.")
        reporter.warn(
            "Only {share:.0%} of what the adapter changes is left after rounding to {dtype}: "
            "most of its changes are smaller than that format's steps.",
            "Compare by ear; a later checkpoint or a higher learning rate changes more.",
            share=max(0.0, verification.captured),
            dtype=dtype,
        )
    return verification


def _logits(
    base: ModelDirectory,
    merged: Path,
    source: Adapter | FullWeights,
    parts: TrainedParts,
    reporter: Reporter,
) -> list[Logits]:
    """Return the logits of every version, on a GPU where there is one with room; all weights are checked."""
    device = resolve_device("auto")
    try:
        return _logits_on(device, base, merged, source, parts, reporter)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    reporter.log("The GPU has no room for the proof of the merge; the CPU computes it.")
    return _logits_on(torch.device("cpu"), base, merged, source, parts, reporter)


@torch.no_grad()
def _logits_on(
    device: torch.device,
    base: ModelDirectory,
    merged: Path,
    source: Adapter | FullWeights,
    parts: TrainedParts,
    reporter: Reporter,
) -> list[Logits]:
    load_model(merged, known_finite=True)  # as everybody will
    model = load_model(base.path, known_finite=True)
    with Versions(base, merged, source, reporter) as versions:
        place_side_by_side(model, versions, source, parts, device)
        found = compute_logits(model, base.prompts, Order.of(source).count)
        versions.check_rest()
    return found
