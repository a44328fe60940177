"""Which clips are trained on when: coverage, bounds, references, split."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from fishtune.core.randomness import hashed, uniform
from fishtune.core.stages.train.sampler import (
    NO_REFERENCE,
    ClipTable,
    Coverage,
    MicroBatch,
    Position,
    References,
    Sampler,
    StepPlan,
    validation_batches,
)
from fishtune.core.stages.train.split import split

from .training_kit import LIMIT, make_table


def make_sampler(
    clips: int, per_step: int = 1, seed: int = 1, probability: float = 0.8, batch_tokens: int = 2 * LIMIT
) -> Sampler:
    table = make_table(clips)
    training = np.arange(clips)
    references = References(table, training, probability, LIMIT, seed)
    return Sampler(table, training, references, batch_tokens, per_step, seed)


def lengths_of(part: MicroBatch, clips: int) -> npt.NDArray[np.int64]:
    turns = make_table(clips).turns.astype(np.int64)
    return turns[part.clips] + np.where(part.references == NO_REFERENCE, 0, turns[part.references])


def take(sampler: Sampler, count: int, begin: Position = Position()) -> list[StepPlan]:  # noqa: B008
    return list(itertools.islice(sampler.steps(begin, None), count))


def same_plan(one: StepPlan, other: StepPlan) -> bool:
    parts = zip(one.micro_batches, other.micro_batches, strict=True)
    return one.end == other.end and all(
        np.array_equal(a.clips, b.clips) and np.array_equal(a.references, b.references) for a, b in parts
    )


@pytest.mark.parametrize("clips", [1, 3, 250, 5000])
@pytest.mark.parametrize("per_step", [1, 3])
def test_every_clip_is_seen_once_an_epoch(clips: int, per_step: int) -> None:
    sampler = make_sampler(clips, per_step)
    coverage = Coverage(np.arange(clips))
    for plan in sampler.steps(Position(), sampler.end(2)):
        coverage.add(plan.clips)
    assert (coverage.counts == 2).all()
    assert coverage.passes == 2


def test_counters_show_a_clip_that_was_missed_or_repeated() -> None:
    coverage = Coverage(np.array([2, 5, 9]))
    coverage.add(np.array([5, 9, 5]))
    assert coverage.counts.tolist() == [0, 2, 1]


@pytest.mark.parametrize("clips", [1, 3, 250, 5000])
def test_micro_batches_stay_within_their_tokens_padding_included(clips: int) -> None:
    sampler = make_sampler(clips)
    for part in sampler.epoch(0):
        assert part.columns == lengths_of(part, clips).max()
        assert part.tokens == len(part.clips) * part.columns <= 2 * LIMIT


def test_clips_of_like_length_go_together() -> None:
    sampler = make_sampler(5000, batch_tokens=8 * LIMIT)
    parts = sampler.epoch(0)
    real = sum(int(lengths_of(part, 5000).sum()) for part in parts)
    assert real / sum(part.tokens for part in parts) > 0.97


def test_epochs_differ_and_follow_from_the_seed() -> None:
    first, again, other = make_sampler(250), make_sampler(250), make_sampler(250, seed=2)
    assert all(same_plan(a, b) for a, b in zip(take(first, 200), take(again, 200), strict=True))
    assert not all(same_plan(a, b) for a, b in zip(take(first, 200), take(other, 200), strict=True))
    orders = [np.concatenate([part.clips for part in first.epoch(epoch)]) for epoch in (0, 1)]
    assert not np.array_equal(*orders)


@pytest.mark.parametrize("done", [1, 7, 130])
def test_a_resumed_stream_goes_on_with_the_very_same_steps(done: int) -> None:
    sampler = make_sampler(250, per_step=2)
    whole = take(sampler, done + 50)
    rest = take(make_sampler(250, per_step=2), 50, begin=whole[done - 1].end)
    assert all(same_plan(a, b) for a, b in zip(whole[done:], rest, strict=True))


def test_processes_share_each_step_by_turns() -> None:
    plan = next(make_sampler(250, per_step=4).steps(Position(), None))
    shares = [plan.of_rank(rank, 2).micro_batches for rank in (0, 1)]
    assert [part.number for part in shares[0]] == [0, 2]
    assert [part.number for part in shares[1]] == [1, 3]
    assert plan.of_rank(1, 2).supervised == plan.supervised


def test_a_step_counts_the_labels_of_all_its_micro_batches() -> None:
    sampler = make_sampler(250, per_step=3)
    plan = next(sampler.steps(Position(), None))
    frames = int(make_table(250).frames[plan.clips].sum())
    assert (plan.semantic, plan.supervised) == (frames, frames + len(plan.clips))


@pytest.mark.parametrize("epochs", [1, 0.5, 2.25])
def test_a_run_of_so_many_epochs_ends_where_it_is_counted_to_end(epochs: float) -> None:
    sampler = make_sampler(250, per_step=4)
    end = sampler.end(epochs)
    plans = list(sampler.steps(Position(), end))
    assert plans[-1].end == end
    assert len(plans) == sampler.count_steps(end)
    seen = sum(len(plan.clips) for plan in plans)
    assert seen == pytest.approx(250 * epochs, rel=0.1)


def test_references_are_other_training_clips_of_the_same_speaker() -> None:
    table = make_table(300)
    training = np.arange(0, 300, 2)
    references = References(table, training, 0.8, 10_000, seed=1)
    clips = np.arange(300)
    for epoch in range(20):
        chosen = references.choose(clips, epoch)
        has = chosen != NO_REFERENCE
        assert (table.speakers[chosen[has]] == table.speakers[clips[has]]).all()
        assert (chosen[has] != clips[has]).all()
        assert np.isin(chosen[has], training).all()


def test_references_come_with_their_probability_and_reach_every_clip() -> None:
    table = make_table(60, speakers=1)
    references = References(table, np.arange(60), 0.8, 10_000, seed=1)
    chosen = np.stack([references.choose(np.arange(60), epoch) for epoch in range(500)])
    assert (chosen != NO_REFERENCE).mean() == pytest.approx(0.8, abs=0.01)
    counts = np.bincount(chosen[chosen != NO_REFERENCE], minlength=60)
    assert counts.min() > 0.7 * counts.mean()


def test_a_reference_depends_on_seed_epoch_and_clip_alone() -> None:
    table = make_table(300)
    references = References(table, np.arange(300), 0.8, LIMIT, seed=1)
    together = references.choose(np.arange(300), 3)
    for clip in (0, 17, 299):
        assert references.choose(np.array([clip]), 3)[0] == together[clip]


def test_a_speaker_of_one_clip_and_a_pair_too_long_go_without_a_reference() -> None:
    table = ClipTable(
        speakers=np.array([0, 1, 1], dtype=np.int32),
        turns=np.array([10, 300, 300], dtype=np.int32),
        as_references=np.array([10, 300, 300], dtype=np.int32),
        frames=np.array([5, 290, 290], dtype=np.int32),
    )
    references = References(table, np.arange(3), 1.0, LIMIT, seed=1)
    assert references.choose(np.arange(3), 0).tolist() == [NO_REFERENCE] * 3


def test_validation_is_the_same_every_time_and_takes_references_from_the_training_clips() -> None:
    table = make_table(300)
    sides = split(table.speakers, hashed(np.arange(300)), 0.1)
    references = References(table, sides.training, 0.8, LIMIT, seed=1)
    batches = validation_batches(sides.held_out, references, LIMIT)
    assert np.array_equal(np.sort(np.concatenate([part.clips for part in batches])), sides.held_out)
    used = np.concatenate([part.references for part in batches])
    assert np.isin(used[used != NO_REFERENCE], sides.training).all()
    assert all(part.tokens <= LIMIT for part in batches)


def test_the_split_is_stable_when_clips_are_added_and_removed() -> None:
    content = hashed(np.arange(3000))
    speakers = np.arange(3000) % 3
    before = split(speakers[:2000], content[:2000], 0.05)
    after = split(speakers, content, 0.05)
    assert set(before.held_out) <= set(after.held_out)
    assert not set(before.training) & set(after.held_out)
    shuffled = np.random.default_rng(0).permutation(3000)
    moved = split(speakers[shuffled], content[shuffled], 0.05)
    assert set(shuffled[moved.held_out]) == set(after.held_out)
    assert len(after.held_out) == pytest.approx(150, rel=0.3)


def test_every_speaker_has_a_clip_on_either_side() -> None:
    speakers = np.repeat(np.arange(50), 4)
    for share in (0.01, 0.99):
        sides = split(speakers, hashed(np.arange(200)), share)
        assert set(speakers[sides.held_out]) == set(speakers[sides.training]) == set(range(50))
        assert not set(sides.held_out) & set(sides.training)


def test_equal_clips_never_stand_on_both_sides() -> None:
    content = hashed(np.arange(200) // 2)
    sides = split(np.repeat(np.arange(5), 40), content, 0.3)
    assert not set(content[sides.held_out].tolist()) & set(content[sides.training].tolist())


def test_a_single_clip_is_trained_on_and_a_share_of_0_holds_out_nothing() -> None:
    assert split(np.zeros(1, int), hashed(np.arange(1)), 0.5).training.tolist() == [0]
    assert len(split(np.zeros(40, int), hashed(np.arange(40)), 0.0).held_out) == 0


def test_draws_are_uniform_and_uncorrelated_between_neighbours() -> None:
    draws = uniform(hashed(1, 7, np.arange(100_000)))
    assert draws.mean() == pytest.approx(0.5, abs=0.005)
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.01
