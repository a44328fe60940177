"""The proof of a merge: merged weights compute what base + adapter compute in training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from torch import Tensor

from ...errors import CheckpointError
from ...events import ProgressMeter, Reporter
from ...lora.agreement import Agreement, Logits, captured_change, compare_logits, compute_logits
from ...lora.files import Adapter, FullWeights
from ...messages import Message
from ...model.checkpoint import load_model
from ...model.containers.container import Container, WeightsReader, split_rows
from ...model.directory import ModelDirectory
from ...model.dual_ar import DualAR
from ...model.families.family import Family
from ...model.targets import WORD_EMBEDDING
from ...text.prompts import PromptBuilder

_STOPPED = Message("Nothing was written.")


_PIECE_ELEMENTS = 1 << 22
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
    base: ModelDirectory, merged: Path, source: Adapter | FullWeights, reporter: Reporter
) -> Verification:
    """Compare merged weights with base + adapter and return the numbers; one model is in memory at a time.

    Args:
        merged: checkpoint directory with the merged weights.

    Raises:
        CheckpointError: a stored weight is not what it must be, or the merged weights compute something else.
        StopRequested: asked to stop.
    """
    meter = ProgressMeter(reporter, "verifying", 4, "models")

    def advance(what: str) -> None:
        meter.advance(detail=what)
        reporter.check_stop(_STOPPED)

    prompts = base.prompts
    model = load_model(base.path, known_finite=True)
    _check_stored(model, base.family, base.container.of(merged), source)
    plain = compute_logits(model, prompts)
    advance("base")
    exact = compute_logits(model, prompts, changes=source.modules) if isinstance(source, Adapter) else None
    del model
    advance(Message("base + changes"))
    adapted = _adapted_logits(load_model(base.path, known_finite=True), source, prompts)
    advance(Message("base + adapter"))
    found = compute_logits(load_model(merged), prompts)
    advance("merged")

    verification = Verification(
        arithmetic=compare_logits(exact or adapted, adapted),
        merged=compare_logits(found, adapted),
        effect=compare_logits(adapted, plain),
        captured=captured_change(found, adapted, plain),
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


def _check_stored(base: DualAR, family: Family, merged: Container, source: Adapter | FullWeights) -> None:
    """Compare every weight in the merged file, bit for bit, with what it must be."""
    weights = dict(base.named_parameters())
    try:
        reader = WeightsReader(merged)
    except CheckpointError as error:
        raise CheckpointError(
            "The merged weights were not stored as computed: the file cannot be read back.",
            "Nothing was written. Check the disk; if it is sound, please report this.",
        ) from error
    with reader as file:
        for name, stored in family.stored_names(file.locations).items():
            for first, rows in _expected_rows(name, weights[name], source):
                for part, place, expected in split_rows(file.locations, stored, first, rows):
                    found = file.read_rows(part, place, len(expected))
                    if not found.equal(expected.to(found.dtype)):
                        raise CheckpointError(
                            "The merged weights were not stored as computed: {name} differs.",
                            "Nothing was written. Check the disk; if it is sound, please report this.",
                            name=name,
                        )


def _expected_rows(name: str, weight: Tensor, source: Adapter | FullWeights) -> Iterator[tuple[int, Tensor]]:
    """Yield what must be stored, in pieces: first row and rows."""
    change = source.modules.get(name.removesuffix(".weight")) if isinstance(source, Adapter) else None
    if change is not None:
        yield from change.adapted(weight.detach())
        return
    whole = source.tensors.get(name, weight) if isinstance(source, FullWeights) else weight
    step = max(1, _PIECE_ELEMENTS // max(1, whole[0].numel()))
    for first in range(0, len(whole), step):
        yield first, whole.detach()[first : first + step]


def _adapted_logits(model: DualAR, source: Adapter | FullWeights, prompts: PromptBuilder) -> Logits:
    """Return the logits of base + adapter as training computes them; `model` is the base and is changed."""
    # peft takes 240 MiB; nothing before this needs it, and by now the other model is gone.
    from ...lora.attach import apply_checkpoint

    apply_checkpoint(model, source)
    if isinstance(source, FullWeights):
        return compute_logits(model, prompts)
    tied = source.modules.get(WORD_EMBEDDING) if model.config.tie_word_embeddings else None
    if tied is None:
        return compute_logits(model, prompts)

    def head(hidden: Tensor) -> Tensor:
        # peft adapts the embedding as an input only; the stored weight is the output head, too.
        change: Tensor = tied.scaling * (model.norm(hidden) @ tied.b.float()) @ tied.a.float()
        return model.token_logits(hidden) + change

    return compute_logits(model, prompts, head=head)
