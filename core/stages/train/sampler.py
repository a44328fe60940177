"""Which clips make which optimizer step: every clip once an epoch, as a function of seed and epoch.

An epoch is a list of micro-batches of clips of like length; the stream of all epochs' micro-batches is cut
into optimizer steps. Where a run stands is a `Position` in that stream, so a resumed run sees exactly the
micro-batches it would have seen. With several processes the stream stays the same and process r of n takes
micro-batches r, r + n, … of each step: n processes compute what one does with n times the accumulation.

A position counts micro-batches, so it means nothing under another `batch_tokens`. A run that goes on with
another one finishes its epoch with a `Recut`: the clips that the epoch has not come to yet, cut anew.

Lengths are in columns of the token matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from ...randomness import hashed, seed_of, uniform

IntArray = npt.NDArray[np.int64]
NO_REFERENCE = -1
_POOL = 2048
"""Clips among which like lengths are looked for: enough for little padding, few enough to keep the mix."""
_CARRIES, _WHICH, _ORDER = 1, 2, 3  # purposes of draws


@dataclass(frozen=True)
class ClipTable:
    """What planning needs to know of every packed utterance, by its number in the index."""

    speakers: npt.NDArray[np.int32]
    turns: npt.NDArray[np.int32]
    """Columns of a sequence of this utterance alone."""
    as_references: npt.NDArray[np.int32]
    """Columns that it adds to the sequence of another utterance as its reference."""
    frames: npt.NDArray[np.int32]


@dataclass(frozen=True)
class MicroBatch:
    """Clips that go through the model together; `references` has `NO_REFERENCE` where a clip has none."""

    epoch: int
    number: int
    clips: IntArray
    references: IntArray
    columns: int

    @property
    def tokens(self) -> int:
        """Columns of the whole micro-batch, padding included."""
        return len(self.clips) * self.columns


@dataclass(frozen=True, order=True)
class Position:
    """A place in the stream: `micro_batch` micro-batches of `epoch` are done."""

    epoch: int = 0
    micro_batch: int = 0


@dataclass(frozen=True)
class Recut:
    """An epoch in the midst of which `batch_tokens` changed; positions in it count from there."""

    epoch: int
    left: npt.NDArray[np.bool_]
    """Of every training clip, whether the epoch had not come to it yet; neither all nor none."""


@dataclass(frozen=True)
class StepPlan:
    """The micro-batches of one optimizer step.

    `supervised` and `semantic` count the labels of row 0 and the semantic positions of the whole step over
    all processes; losses are divided by them, so that neither the number of processes nor the cut into
    micro-batches changes the gradient.
    """

    micro_batches: tuple[MicroBatch, ...]
    supervised: int
    semantic: int
    end: Position
    clips: IntArray
    """Clips of the whole step, over all processes."""

    def of_rank(self, rank: int, world_size: int) -> StepPlan:
        """Return the share of one process; it may have no micro-batch."""
        return replace(self, micro_batches=self.micro_batches[rank::world_size])


class References:
    """Chooses the reference utterance of a clip.

    The choice follows from (seed, epoch, clip) alone. A reference is another training clip of the same
    speaker; a clip goes without one with probability 1 − `probability`, where the speaker has no other
    clip, and where both together would exceed `limit` columns.
    """

    def __init__(
        self, table: ClipTable, training: IntArray, probability: float, limit: int, seed: int
    ) -> None:
        self._table = table
        self._probability = probability
        self._limit = limit
        self._seed = seed
        speakers = table.speakers[training]
        self._by_speaker = training[np.argsort(speakers, kind="stable")]
        count = int(table.speakers.max(initial=-1)) + 1
        self._counts = np.bincount(speakers, minlength=count)
        self._starts = np.cumsum(self._counts) - self._counts
        # Place of every clip among its speaker's training clips; held-out clips have none.
        self._places = np.full(len(table.speakers), -1, dtype=np.int64)
        self._places[self._by_speaker] = np.arange(len(training)) - np.repeat(self._starts, self._counts)

    def choose(self, clips: IntArray, epoch: int) -> IntArray:
        """Return the reference of every clip, or `NO_REFERENCE`."""
        speakers = self._table.speakers[clips]
        places = self._places[clips]
        others = self._counts[speakers] - (places >= 0)
        carries = uniform(hashed(_CARRIES, self._seed, epoch, clips)) < self._probability
        which = hashed(_WHICH, self._seed, epoch, clips) % np.maximum(others, 1).astype(np.uint64)
        picked = which.astype(np.int64)
        picked += (places >= 0) & (picked >= places)  # never the clip itself
        exists = carries & (others > 0)
        found = self._by_speaker[np.where(exists, self._starts[speakers] + picked, 0)]
        fits = self.columns(clips, found) <= self._limit
        return np.where(exists & fits, found, NO_REFERENCE)

    def columns(self, clips: IntArray, references: IntArray) -> IntArray:
        """Return the length of every sample in columns."""
        extra = np.where(references == NO_REFERENCE, 0, self._table.as_references[references])
        return self._table.turns[clips].astype(np.int64) + extra


@dataclass(frozen=True)
class EpochPlan(Sequence[MicroBatch]):
    """The micro-batches of an epoch.

    They are kept as a few arrays, not as objects: a data-loading process that is forked from this one would
    come to own a copy of every object.
    """

    epoch: int
    clips: IntArray
    references: IntArray
    starts: IntArray
    """Where each micro-batch begins in `clips`; one more entry, the end of the last."""
    columns: IntArray
    """Longest sample of each micro-batch."""

    @classmethod
    def of_like_lengths(
        cls, epoch: int, clips: IntArray, references: References, batch_tokens: int
    ) -> EpochPlan:
        """Cut clips into micro-batches of like lengths whose padded size is at most `batch_tokens`."""
        chosen = references.choose(clips, epoch)
        lengths = references.columns(clips, chosen)
        order = np.concatenate(
            [
                start + np.argsort(-lengths[start : start + _POOL], kind="stable")
                for start in range(0, len(clips), _POOL)
            ]
            or [clips[:0]]
        )
        starts, columns = [0], []
        while starts[-1] < len(order):
            columns.append(int(lengths[order[starts[-1]]]))  # the first of a micro-batch is its longest
            pool_end = (starts[-1] // _POOL + 1) * _POOL
            size = max(1, batch_tokens // columns[-1])
            starts.append(min(starts[-1] + size, pool_end, len(order)))
        return cls(epoch, clips[order], chosen[order], np.array(starts), np.array(columns, dtype=np.int64))

    def reordered(self, order: IntArray) -> EpochPlan:
        """Return the same micro-batches in another order."""
        sizes = np.diff(self.starts)[order]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.arange(len(self.clips)) + np.repeat(self.starts[order] - starts[:-1], sizes)
        return EpochPlan(self.epoch, self.clips[rows], self.references[rows], starts, self.columns[order])

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, number: int) -> MicroBatch: ...
    @overload
    def __getitem__(self, number: slice) -> list[MicroBatch]: ...
    def __getitem__(self, number: int | slice) -> MicroBatch | list[MicroBatch]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        part = slice(self.starts[number], self.starts[number + 1])
        return MicroBatch(
            self.epoch, number, self.clips[part], self.references[part], int(self.columns[number])
        )


class Sampler:
    """Plans the optimizer steps of a run.

    Args:
        table: all utterances.
        training: numbers of those that are trained on; none longer than `batch_tokens`.
        references: chooses references; its limit is at most `batch_tokens`.
        batch_tokens: columns of a micro-batch, padding included, at most.
        per_step: micro-batches an optimizer step, over all processes.
        recut: the epoch of which only a part is left to plan, if any.
    """

    def __init__(
        self,
        table: ClipTable,
        training: IntArray,
        references: References,
        batch_tokens: int,
        per_step: int,
        seed: int,
        recut: Recut | None = None,
    ) -> None:
        self._table = table
        self._training = training
        self._references = references
        self._recut = recut
        self._batch_tokens = batch_tokens
        self._per_step = per_step
        self._seed = seed
        self._cached: EpochPlan | None = None

    def epoch(self, epoch: int) -> EpochPlan:
        """Return the micro-batches of an epoch, in order: every training clip exactly once.

        Of an epoch that was cut anew, those of the clips that were left.
        """
        if self._cached is None or self._cached.epoch != epoch:
            generator = np.random.default_rng(seed_of(_ORDER, self._seed, epoch))
            clips = generator.permutation(self._training)
            if self._recut is not None and self._recut.epoch == epoch:
                clips = clips[np.isin(clips, self._training[self._recut.left])]
            plan = EpochPlan.of_like_lengths(epoch, clips, self._references, self._batch_tokens)
            self._cached = plan.reordered(generator.permutation(len(plan)))
        return self._cached

    def steps(self, begin: Position, end: Position | None) -> Iterator[StepPlan]:
        """Yield the optimizer steps from `begin` to `end` (None: without end); the last may be short."""
        position = begin
        while end is None or position < end:
            parts: list[MicroBatch] = []
            while len(parts) < self._per_step and (end is None or position < end):
                epoch = self.epoch(position.epoch)
                parts.append(epoch[position.micro_batch])
                position = replace(position, micro_batch=position.micro_batch + 1)
                if position.micro_batch == len(epoch):
                    position = Position(position.epoch + 1)
            clips = np.concatenate([part.clips for part in parts])
            semantic = int(self._table.frames[clips].sum(dtype=np.int64))
            # Labels of row 0: the clip's frames and its <|im_end|>.
            yield StepPlan(tuple(parts), semantic + len(clips), semantic, position, clips)

    def end(self, epochs: float) -> Position:
        """Return where a run of that many epochs ends."""
        whole = math.floor(epochs)
        share = epochs - whole
        if share and self._recut is not None and self._recut.epoch == whole:
            left = float(self._recut.left.mean())
            share = max(0.0, share - (1 - left)) / left
        part = math.ceil(share * len(self.epoch(whole))) if share else 0
        return Position(whole, part) if part < len(self.epoch(whole)) else Position(whole + 1)

    def count_steps(self, end: Position, begin: Position = Position()) -> int:
        """Return the number of optimizer steps from `begin` to `end`; 0 where it lies behind."""
        between = sum(len(self.epoch(epoch)) for epoch in range(begin.epoch, end.epoch))
        micro_batches = between + end.micro_batch - begin.micro_batch
        return max(0, -(-micro_batches // self._per_step))


class Coverage:
    """Counts how often each training clip was trained on: proof that none is missed or favoured."""

    def __init__(self, training: IntArray, counts: IntArray | None = None) -> None:
        self._training = training
        self.counts = np.zeros(len(training), dtype=np.int64) if counts is None else counts

    def add(self, clips: IntArray) -> None:
        """Count one pass of each of `clips`."""
        np.add.at(self.counts, np.searchsorted(self._training, clips), 1)

    @property
    def passes(self) -> float:
        """Mean number of passes of a training clip."""
        return float(self.counts.mean()) if len(self.counts) else 0.0


def largest_of(batches: Iterable[MicroBatch]) -> MicroBatch:
    """Return the one that needs most memory: by its tokens, padding included, then by its longest sample."""
    return max(batches, key=lambda batch: (batch.tokens, batch.columns))


def validation_batches(held_out: IntArray, references: References, batch_tokens: int) -> EpochPlan:
    """Return the held-out clips as micro-batches: the same ones, with the same references, every time."""
    return EpochPlan.of_like_lengths(0, held_out, references, batch_tokens)
