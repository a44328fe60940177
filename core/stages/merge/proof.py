"""The proof of a merge: merged weights compute what base + adapter compute in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel

from ...compute.devices import is_out_of_memory, resolve_device
from ...compute.quantised import require
from ...config.settings import BasePrecision
from ...errors import CheckpointError, UsageError
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
    quantised: Agreement | None = None
    """Merged weights as they are stored, against the quantised base + adapter that training had; None where
    it had no such base, or that cannot be computed here."""
    quantised_told: str | None = None
    """The same in a sentence."""


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
    precision = _computable(source, reporter)
    order = Order.of(source, precision)
    parts = trained_parts(source, sources, strength)
    logits = _logits(base, merged, source, precision, parts, reporter)
    plain, trained, changed, stored = (
        logits[place] for place in (0, order.trained, order.changed, order.stored)
    )
    over_quantised = None if order.quantised is None else compare_logits(stored, logits[order.quantised])
    verification = Verification(
        arithmetic=compare_logits(changed, trained),
        merged=compare_logits(stored, trained),
        effect=compare_logits(trained, plain),
        captured=captured_change(stored, trained, plain),
        quantised=over_quantised,
        quantised_told=None if over_quantised is None else _told(over_quantised, precision),
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


def _told(agreement: Agreement, precision: BasePrecision | None) -> str:
    """Return how far training over a quantised base and the merged weights agree, in a sentence."""
    return (
        f"Training had the base in {precision}: with the merged weights, logits differ by "
        f"{agreement.relative_difference:.1%} from those it learnt with; {agreement.same_token:.0%} of the "
        f"most probable tokens and {agreement.same_code:.0%} of the most probable codes are the same."
    )


def _computable(source: Adapter | FullWeights, reporter: Reporter) -> BasePrecision | None:
    """Return in what training had the base, if it can be had so here; tell where it cannot."""
    precision = source.base_precision if isinstance(source, Adapter) else None
    try:
        require(precision)
    except UsageError as error:
        reporter.warn(
            "How far training over the base in {precision} and the merged weights agree was not looked at. "
            "{reason}",
            error.hint,
            precision=precision,
            reason=error.message,
        )
        return None
    return precision


def _logits(
    base: ModelDirectory,
    merged: Path,
    source: Adapter | FullWeights,
    precision: BasePrecision | None,
    parts: TrainedParts,
    reporter: Reporter,
) -> list[Logits]:
    """Return the logits of every version, on a GPU where there is one with room; all weights are checked."""
    device = resolve_device("auto")
    try:
        return _logits_on(device, base, merged, source, precision, parts, reporter)
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
    reporter.log("The GPU has no room for the proof of the merge; the CPU computes it.")
    return _logits_on(torch.device("cpu"), base, merged, source, precision, parts, reporter)


@torch.no_grad()
def _logits_on(
    device: torch.device,
    base: ModelDirectory,
    merged: Path,
    source: Adapter | FullWeights,
    precision: BasePrecision | None,
    parts: TrainedParts,
    reporter: Reporter,
) -> list[Logits]:
    load_model(merged, known_finite=True)  # as everybody will
    model = load_model(base.path, known_finite=True)
    order = Order.of(source, precision)
    with Versions(base, merged, source, precision, device, reporter) as versions:
        place_side_by_side(model, versions, order, source, parts, device)
        found = compute_logits(model, base.prompts, order.count)
        versions.check_rest()
    return found
