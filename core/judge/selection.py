"""Which checkpoint to merge: the earliest that is about as good as the best.

Whom the user prefers in blind tests, more often than chance would, is taken unless it is out. Else, where
checkpoints were listened to, what they say decides: who cannot be understood, has another voice or is
unhealthy is out; of the others those within the interval of the best are kept, by words first, then voice,
rate and pitch. Held-out loss breaks the tie that is left, and the earliest wins: it usually generalises best.
Where nobody listened, loss alone decides, by the share of the improvement over the base.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..messages import NOTHING, Message, joined, plural
from .results import SAME_VOICE, Measure, Measures
from .votes import Preference

WITHIN = 0.01
"""Share of the best held-out loss that another one may lie above it, where the base's is not known."""
IMPROVEMENT = 0.95
"""Share of the best improvement over the base's held-out loss that counts as equally good."""
CHANCE = 0.1
"""Preferences that chance makes at least as often do not count."""
UNINTELLIGIBLE = 0.4
"""Share of words that are wrong from which a checkpoint is out."""


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
    """Of exactly this step."""
    top_5_accuracy: float | None = None
    healthy: bool | None = None
    """Whether the audition found its speech sound; None = not listened to."""
    measures: Measures | None = None
    """What the audition measured, on the same texts as of the others."""
    preference: Preference | None = None
    """What the user's blind tests say, if it took part in any."""


@dataclass(frozen=True)
class Yardsticks:
    """What checkpoints are held against, as far as it is known."""

    base_loss: float | None = None
    """Held-out loss of the base: that of step 0."""
    base: Measures | None = None
    recordings: Measures | None = None
    """The user's own held-out recordings."""


@dataclass(frozen=True)
class Recommendation:
    """A checkpoint and the reason for it, in sentences; and why others are out, a sentence each."""

    candidate: Candidate
    reason: Message
    out: tuple[Message, ...] = ()


def recommend(candidates: Sequence[Candidate], against: Yardsticks | None = None) -> Recommendation | None:
    """Return the checkpoint to merge, or None if there is none.

    Those that are out count only where all are.
    """
    if not candidates:
        return None
    against = against or Yardsticks()
    ordered = sorted(candidates, key=lambda candidate: candidate.step)
    rejected = {candidate.step: why for candidate in ordered if (why := _why_out(candidate, against))}
    left = [candidate for candidate in ordered if candidate.step not in rejected]
    caution = (
        NOTHING
        if left
        else Message("None of the checkpoints generates sound speech: listen before you use it.")
    )
    field = left or ordered
    judged = [candidate for candidate in field if candidate.measures is not None and _is_judged(candidate)]
    preferred = [(each.preference.by_chance, each.preference, each) for each in field if each.preference]
    surest = min(preferred, key=lambda entry: entry[0], default=None)
    if surest is not None and surest[0] <= CHANCE:
        _, preference, chosen = surest
        reason = _on_preference(preference)
    elif judged:
        chosen, reason = _by_judge(judged, against, sum(map(_is_judged, ordered)))
    else:
        chosen, reason = _by_loss(field, against)
    return Recommendation(chosen, joined([reason, caution]), tuple(rejected.values()))


def _why_out(candidate: Candidate, against: Yardsticks) -> Message:
    """Return why a checkpoint is out, or nothing."""
    found, base = candidate.measures or Measures(), against.base or Measures()
    own = against.recordings or Measures()
    if (
        found.wer is not None
        and found.wer.mean > UNINTELLIGIBLE
        # Where the base is not understood either, it is recognition that does not understand.
        and (base.wer is None or found.wer.low > base.wer.high)
    ):
        return Message(
            "Step {step} is out: {share:.0%} of its words are wrong.",
            step=candidate.step,
            share=found.wer.mean,
        )
    if (
        found.similarity is not None
        and found.similarity.mean < SAME_VOICE
        and (base.similarity is None or found.similarity.mean < base.similarity.mean)
    ):
        return Message(
            "Step {step} is out: it has another voice, of similarity {alike:.2f}.",
            step=candidate.step,
            alike=found.similarity.mean,
        )
    is_like_own = found.faulty is not None and own.faulty is not None and found.faulty.mean <= own.faulty.high
    if candidate.healthy is False and not is_like_own:  # noise of the recordings is learned with the voice
        if found.faulty is None:
            return Message("Step {step} is out: most of what it says is unsound.", step=candidate.step)
        return Message(
            "Step {step} is out: {share:.0%} of what it says is unsound.",
            step=candidate.step,
            share=found.faulty.mean,
        )
    return NOTHING


def _is_judged(candidate: Candidate) -> bool:
    return candidate.measures is not None and (
        candidate.measures.wer is not None or candidate.measures.similarity is not None
    )


def _on_preference(found: Preference) -> Message:
    return plural(
        found.won + found.lost,
        "You preferred it in the only blind comparison, which says little.",
        "You preferred it in {won} of {number} blind comparisons; by chance that happens in {chance:.1%} of "
        "such tests.",
        won=found.won,
        chance=found.by_chance,
    )


# By the judge

Cost = Callable[[Measures], tuple[float, float] | None]
"""How bad something is: its mean, and the worst that its interval allows."""


def _by_judge(judged: Sequence[Candidate], against: Yardsticks, listened: int) -> tuple[Candidate, Message]:
    """Return the best of those that are not out, and why.

    Args:
        listened: how many were listened to, those that are out included.
    """
    own = against.recordings or Measures()
    costs: list[Cost] = [
        lambda found: (found.wer.mean, found.wer.high) if found.wer else None,
        lambda found: (-found.similarity.mean, -found.similarity.low) if found.similarity else None,
        lambda found: _distance(found.rate, own.rate),
        lambda found: _distance(found.pitch, own.pitch),
    ]
    equal = list(judged)
    for cost in costs:
        equal = _as_good_as_the_best(equal, cost)
    chosen = _earliest_by_loss(equal, against)
    sentences = [_on_words(chosen, against), _on_voice(chosen, against)]
    if len(equal) > 1:
        sentences.append(
            Message(
                "It is the earliest of {number} that are as good as the best within its interval.",
                number=len(equal),
            )
            if chosen is equal[0]
            else Message(
                "Of {number} that are as good as the best within its interval, its held-out loss decides: "
                "{loss:.3f}.",
                number=len(equal),
                loss=chosen.validation_loss,
            )
        )
    elif listened > 1:
        sentences.append(Message("It is the best of {number} that were listened to.", number=listened))
    return chosen, joined(sentences)


def _as_good_as_the_best(candidates: list[Candidate], cost: Cost) -> list[Candidate]:
    known = [
        (each, found)
        for each in candidates
        if each.measures is not None and (found := cost(each.measures)) is not None
    ]
    if not known:
        return candidates
    _, (_, worst) = min(known, key=lambda pair: pair[1][0])
    return [each for each, (mean, _) in known if mean <= worst]


def _distance(found: Measure | None, own: Measure | None) -> tuple[float, float] | None:
    """Return by how many octaves a rate or pitch is off the user's own, at its mean and at worst."""
    if found is None or own is None or min(found.low, own.mean) <= 0:
        return None
    mean, low, high = (abs(math.log2(value / own.mean)) for value in (found.mean, found.low, found.high))
    return mean, max(low, high)


def _on_words(chosen: Candidate, against: Yardsticks) -> Message:
    assert chosen.measures is not None
    found = chosen.measures.wer
    if found is None:
        return NOTHING
    others = _others(against, lambda measures: measures.wer, "{value:.1%}")
    return Message(
        "{share:.1%} of its words are wrong ({low:.1%} to {high:.1%}{others}).",
        share=found.mean,
        low=found.low,
        high=found.high,
        others=others,
    )


def _on_voice(chosen: Candidate, against: Yardsticks) -> Message:
    assert chosen.measures is not None
    found = chosen.measures.similarity
    if found is None:
        return NOTHING
    others = _others(against, lambda measures: measures.similarity, "{value:.2f}")
    return Message(
        "Its voice has similarity {alike:.2f} ({low:.2f} to {high:.2f}{others}).",
        alike=found.mean,
        low=found.low,
        high=found.high,
        others=others,
    )


def _others(against: Yardsticks, of: Callable[[Measures], Measure | None], form: str) -> Message:
    """Return what base and recordings have, to stand in brackets behind an interval."""
    base = of(against.base) if against.base else None
    own = of(against.recordings) if against.recordings else None
    return joined(
        [
            Message("; base {value}", value=Message(form, value=base.mean)) if base else NOTHING,
            Message("; your recordings {value}", value=Message(form, value=own.mean)) if own else NOTHING,
        ],
        "",
    )


# By loss


def _by_loss(field: Sequence[Candidate], against: Yardsticks) -> tuple[Candidate, Message]:
    measured = _measured(field)
    if not measured:
        return field[-1], Message("It is the last one; no held-out loss was measured.")
    best_loss, best = min(measured, key=lambda pair: pair[0])
    chosen = _earliest_by_loss(field, against)
    base = against.base_loss
    if base is not None and best_loss >= base:
        return chosen, Message(
            "No checkpoint has a lower held-out loss than the base, {base:.3f}; its {loss:.3f} is near the "
            "lowest.",
            base=base,
            loss=chosen.validation_loss,
        )
    if chosen is best and base is None:
        return chosen, Message("It has the lowest held-out loss, {lowest:.3f}.", lowest=best_loss)
    if chosen is best:
        return chosen, Message(
            "It has the lowest held-out loss, {lowest:.3f}; the base's is {base:.3f}.",
            lowest=best_loss,
            base=base,
        )
    if base is None:
        return chosen, Message(
            "It is the earliest whose held-out loss, {loss:.3f}, is within {margin:.0%} of the "
            "lowest, {lowest:.3f} at step {step}.",
            loss=chosen.validation_loss,
            margin=WITHIN,
            lowest=best_loss,
            step=best.step,
        )
    return chosen, Message(
        "It is the earliest with {share:.0%} of the best improvement over the base: its held-out loss is "
        "{loss:.3f}, the base's {base:.3f}, the lowest {lowest:.3f} at step {step}.",
        share=IMPROVEMENT,
        loss=chosen.validation_loss,
        base=base,
        lowest=best_loss,
        step=best.step,
    )


def _earliest_by_loss(field: Sequence[Candidate], against: Yardsticks) -> Candidate:
    """Return the earliest whose held-out loss is about as good as the lowest; the earliest of all if none
    was measured."""
    measured = _measured(field)
    if not measured:
        return field[0]
    best = min(loss for loss, _ in measured)
    base = against.base_loss
    limit = best * (1 + WITHIN) if base is None or best >= base else base - IMPROVEMENT * (base - best)
    return next(candidate for loss, candidate in measured if loss <= limit)


def _measured(field: Sequence[Candidate]) -> list[tuple[float, Candidate]]:
    return [(each.validation_loss, each) for each in field if each.validation_loss is not None]
