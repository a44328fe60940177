"""The check before the first step: would this set-up train the right thing?

Before the first step it is checked that the losses are those of a pretrained model, that training and
generation compute the same, and that every adapter gets gradient. (That every target matches something is
checked where adapters are injected.) Each failure names the number or layer and the likely cause.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
import torch

from ...errors import PreflightError
from ...events import Reporter
from ...lora.injection import trainable_parameters
from ...messages import Message, first_of, joined
from ...model.dual_ar import DualAR
from ...model.generate import generate
from ...model.rows import recent_frames
from ...text.prompts import IGNORED
from .batches import Batch
from .data import SampleSource
from .loss import Losses, loss_sums
from .sampler import NO_REFERENCE, MicroBatch

CLIPS = 8
"""Clips that the check looks at."""
FRAMES = 16
"""Frames that are generated and compared."""
LARGEST_SHARE_OF_UNTRAINED = 0.6
"""Of ln V + ln S, the loss of untrained weights (20.3 for S1-mini, which itself has about 8).

Runs that were known to be broken had 13.7 and 22.
"""
LOWEST_TOP_5_ACCURACY = 0.05
"""A run known to be broken had 0.02; guessing gives 5 / S."""
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""By how much of a position's range of logits the generated code may miss the largest."""


def check_set_up(
    model: DualAR,
    source: SampleSource,
    plan: MicroBatch,
    semantic_weight: float,
    arithmetic: AbstractContextManager[object],
    precision: torch.dtype,
    reporter: Reporter,
    strict: bool,
) -> None:
    """Run all checks on the first clips of `plan`; weights, gradients and random states stay as they were.

    Args:
        arithmetic: entered around the model's computations (autocast, or nothing); can be entered again.
        precision: in which matrices are multiplied.
        strict: False is for bases with random weights: losses are only told, and the other checks warn.

    Raises:
        PreflightError: a check failed; the message has all that failed.
    """
    plan = MicroBatch(0, 0, plan.clips[:CLIPS], plan.references[:CLIPS], plan.columns)
    device = model.norm.weight.device
    batch = source.batch(plan).to(device)
    was_training = model.training
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            losses = _losses(model, batch, arithmetic)
            structural = _compare_paths(model, source, plan, arithmetic, precision)
            structural += _check_gradients(model, batch, semantic_weight, arithmetic)
        finally:
            model.train(was_training)
            model.zero_grad()
    implausible = check_losses(losses, model.config.vocab_size, model.config.codebook_size)
    failures = structural + (implausible if strict else [])
    if failures and strict:
        raise PreflightError(
            "The preflight check stopped the run: {failures}",
            "Correct the cause. Where the base has random weights on purpose, --no-gate (gate = false under "
            "[train] in the project file) trains all the same.",
            failures=joined(failures),
        )
    for failure in structural:
        reporter.warn("Preflight check: {failure}", failure=failure)
    reporter.log(
        f"Step 0: base loss {losses.base:.2f}, semantic loss {losses.semantic:.2f}, top-5 accuracy "
        f"{losses.top_5_accuracy:.2f} before any training."
        + ("" if failures else " Generation agrees with training, and all that is trained gets gradient.")
    )


def _losses(model: DualAR, batch: Batch, arithmetic: AbstractContextManager[object]) -> Losses:
    model.eval()
    with torch.no_grad(), arithmetic:
        return Losses.of(loss_sums(model, batch.tokens, batch.labels).detached())


def check_losses(losses: Losses, vocab_size: int, codebook_size: int) -> list[Message]:
    """Return what is implausible about the first losses of a pretrained model, one sentence each."""
    failures = []
    untrained = math.log(vocab_size) + math.log(codebook_size)
    total = losses.base + losses.semantic
    if not math.isfinite(total) or total > LARGEST_SHARE_OF_UNTRAINED * untrained:
        wiped = not math.isfinite(total) or losses.base > 0.8 * math.log(vocab_size)
        cause = (
            Message("the base's weights are random or wiped, or belong to another tokenizer")
            if wiped
            else Message("the codes come from another codec than the one this base was trained with")
        )
        failures.append(
            Message(
                "The first loss is {total:.1f} (base {base:.1f}, semantic {semantic:.1f}); untrained "
                "weights give {untrained:.1f}, a pretrained model under half of it. Likely {cause}.",
                total=total,
                base=losses.base,
                semantic=losses.semantic,
                untrained=untrained,
                cause=cause,
            )
        )
    if losses.top_5_accuracy < LOWEST_TOP_5_ACCURACY:
        failures.append(
            Message(
                "The top-5 accuracy is {accuracy:.3f}, hardly better than guessing "
                "({guessing:.3f}). Likely the codes are another codec's, or the fast stack is "
                "random.",
                accuracy=losses.top_5_accuracy,
                guessing=5 / codebook_size,
            )
        )
    return failures


def _compare_paths(
    model: DualAR,
    source: SampleSource,
    plan: MicroBatch,
    arithmetic: AbstractContextManager[object],
    precision: torch.dtype,
) -> list[Message]:
    """Generate greedily with cached keys, then look whether the training forward picks the same codes."""
    clip, reference = int(plan.clips[0]), int(plan.references[0])
    sequence = source.sequence(clip, reference)
    first = int((sequence.labels[0] != IGNORED).argmax())
    prompt = sequence.tokens[:, : first + 1]
    if source.prompt == "inference":
        turns = [] if reference == NO_REFERENCE else [source.turn(reference)]
        built = source.base.prompts.prompt(turns, source.turn(clip).text)
        if not np.array_equal(built, prompt):
            return [Message("The training sample does not begin with the prompt that inference builds.")]
    rule = source.base.rule(replace(source.base.family.sampling, greedy=True))
    with arithmetic:
        generation = generate(
            model,
            torch.from_numpy(prompt),
            rule,
            end_id=source.base.tokenizer.end_id,
            max_new_tokens=FRAMES,
            residual_codebook_size=model.config.codebook_size,
        )
    tokens = generation.tokens
    if generation.ended:
        end = torch.zeros(len(tokens), 1, dtype=torch.int64)
        end[0] = source.base.tokenizer.end_id
        tokens = torch.cat([tokens, end], dim=1)
    device = model.norm.weight.device
    columns = torch.cat([torch.from_numpy(prompt), tokens], dim=1).to(device)
    model.eval()
    with torch.no_grad(), arithmetic:
        hidden = model.slow(columns[None])[0, first:-1]
        token_logits = model.token_logits(hidden)
        # A family may leave tokens out of the choice.
        number = len(token_logits)
        before = recent_frames(
            tokens.T.to(device).expand(number, -1, -1), torch.arange(number, device=device), rule.window
        )
        best = rule.token(token_logits, torch.zeros(number, 2, device=device), before)
        misses = _miss(token_logits, columns[0, first + 1 :], best)
        frames = generation.codes.shape[1]
        codes = columns[1:, first + 1 : first + 1 + frames].T
        logits = model.fast_logits(model.fast_input(hidden[:frames]), codes)
        # Code 0 is the token's; the fast logits of position 0 are not used in generation.
        residual_logits = logits[:, 1:].flatten(0, 1)
        residual = _miss(residual_logits, codes[:, 1:].flatten(), residual_logits.argmax(1))
    worst = max(float(part.max()) for part in (misses, residual) if part.numel())
    if worst > _TOLERANCE[precision]:
        where = Message("the slow stack") if misses.max() == worst else Message("the fast stack")
        return [
            Message(
                "Generation and training disagree in {where}: what generation chose misses "
                "training's choice by {worst:.0%} of the range of its logits. This is a bug in "
                "fishtune; please report it.",
                where=where,
                worst=worst,
            )
        ]
    return []


def _miss(logits: torch.Tensor, chosen: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """Return by how much of the range of its logits `(n, V)` each chosen class misses the best one."""
    logits = logits.float()
    spread = logits.max(dim=1).values - logits.min(dim=1).values
    own, others = (logits.gather(1, classes[:, None])[:, 0] for classes in (chosen, best))
    return (others - own) / spread.clamp_min(1e-12)


def _check_gradients(
    model: DualAR, batch: Batch, semantic_weight: float, arithmetic: AbstractContextManager[object]
) -> list[Message]:
    """Return a sentence if something that is trained gets no gradient, or one that is not finite."""
    model.train()
    model.zero_grad()
    with arithmetic:
        sums = loss_sums(model, batch.tokens, batch.labels)
        loss = sums.base / sums.supervised + semantic_weight * sums.semantic / sums.codes
    loss.backward()  # type: ignore[no-untyped-call]
    reached: dict[str, bool] = {}
    broken: list[str] = []
    for name, parameter in trainable_parameters(model).items():
        # One half of an adapter is 0 at first, and so is the gradient of the other half; the magnitudes of
        # DoRA get gradient even where the adapter gets none.
        owner = name.partition(".lora_")[0]
        reached.setdefault(owner, False)
        if parameter.grad is None:
            continue
        if not bool(parameter.grad.isfinite().all()):
            broken.append(name)
        if ".lora_magnitude" not in name and bool(parameter.grad.any()):
            reached[owner] = True
    unreached = [owner for owner, got in reached.items() if not got]
    failures = []
    if unreached:
        failures.append(
            Message(
                "No gradient reaches {names}. Likely it has no part in the loss (the fast stack "
                "has none with a semantic loss weight of 0).",
                names=first_of(unreached, 3),
            )
        )
    if broken:
        failures.append(
            Message(
                "The gradient of {names} is not finite. Likely the base's weights are damaged.",
                names=first_of(broken, 3),
            )
        )
    return failures
