"""Checkpoints of the version before, which numbered a run's clips by their order in the shards.

Clips have their numbers by content now (`data`), so such a checkpoint's passes and position mean other clips
today. Its passes are carried over to today's numbers, and the epoch goes on with the clips that it had not
come to, as with another `batch_tokens` (`resume`). That today's shards have the order of then is checked by
drawing the epoch as that version drew it; where it gives other passes, the epoch is begun again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ...events import Reporter
from ...messages import plural
from ...model.shape import Shape
from ...shards.split import IntArray, split
from ...text.cleaning import clean_text, spoken_text
from .checkpoints import RunState
from .clips import PackedClips, clip_lengths
from .data import TrainingData
from .sampler import ClipTable, References, Sampler


class _Former(NamedTuple):
    """The data set as the version before saw it, its clips numbered by their places in the index."""

    table: ClipTable
    usable: IntArray
    training: IntArray
    limit: int
    """Columns of a sample, at most."""
    batch_tokens: int


def carried_over(
    state: RunState, data: TrainingData, config: Shape, checkpoint: Path, reporter: Reporter
) -> RunState:
    """Return a checkpoint's state in today's numbers; one of this version, or of other clips, as it is.

    What going on from it changes is said by a warning.
    """
    if state.per_step is not None or state.identity.data_sha256 == data.fingerprint:
        return state
    former = _former(state, data.packed, config, reporter)
    if former is None:
        return state
    passes = _passes(state, former, data)
    if passes is None:
        passes = np.full(len(data.split.training), state.epoch, dtype=np.int64)
        _warn_of_repetition(state, checkpoint, reporter)
    else:
        _warn_of_order(state, passes, checkpoint, reporter)
    left = passes <= state.epoch
    return state.model_copy(
        update={
            "identity": state.identity.model_copy(update={"data_sha256": data.fingerprint}),
            "coverage": torch.from_numpy(passes),
            "clip_passes": float(passes.mean()),
            "micro_batch": 0,
            "left": None if left.all() else torch.from_numpy(left),
        }
    )


def _former(state: RunState, source: PackedClips, config: Shape, reporter: Reporter) -> _Former | None:
    """Return the data set of then, or None if the checkpoint is of other clips."""
    index, identity = source.index, state.identity
    batch_tokens = state.settings.get("batch_tokens")
    if not isinstance(batch_tokens, int):
        return None
    everything = replace(source, places=np.arange(len(index)))
    turns = _former_lengths(everything, clip_lengths(everything, reporter)[0])
    table = ClipTable(
        speakers=index.speaker_ids.astype(np.int32),
        turns=turns,
        as_references=turns,
        frames=index.frames.astype(np.int32),
    )
    limit = min(identity.max_length, batch_tokens, config.max_seq_len)
    usable = np.flatnonzero(table.turns <= limit)
    content = np.ascontiguousarray(index.content_hashes, dtype=np.uint64)[usable]
    if hashlib.sha256(np.sort(content).tobytes()).hexdigest() != identity.data_sha256:
        return None
    training = usable[split(table.speakers[usable], content, identity.held_out).training]
    return _Former(table, usable, training, limit, batch_tokens)


def _former_lengths(source: PackedClips, lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the columns of every clip as they were before transcripts had a normal form."""
    encode, former = source.base.tokenizer.encode, lengths.copy()
    for clip in range(len(former)):
        text = source.turn(clip).text
        then, now = clean_text(text).strip(), spoken_text(text)
        if then != now:
            former[clip] += len(encode(then)) - len(encode(now))
    return former


def _passes(state: RunState, former: _Former, data: TrainingData) -> npt.NDArray[np.int64] | None:
    """Return the passes of today's training clips; None if they cannot be told from the checkpoint's."""
    passes, drawn = state.coverage.numpy(), _drawn(state, former)
    if drawn is None or not np.array_equal(passes, drawn):
        return None
    # A clip that did not fit then and does now has yet to come, as in every epoch from now on.
    by_place = np.full(len(former.table.turns), state.epoch, dtype=np.int64)
    by_place[former.training] = passes
    found: npt.NDArray[np.int64] = by_place[data.packed.places[data.split.training]]
    return found


def _drawn(state: RunState, former: _Former) -> npt.NDArray[np.int64] | None:
    """Return the passes that a run of then has at the checkpoint's position; None where it has no such."""
    identity = state.identity
    probability = identity.reference_probability if identity.prompt == "inference" else 0.0
    references = References(former.table, former.training, probability, former.limit, identity.seed)
    plan = Sampler(
        former.table, former.training, references, former.batch_tokens, per_step=1, seed=identity.seed
    ).epoch(state.epoch)
    if not 0 <= state.micro_batch < len(plan):
        return None
    seen = plan.clips[: plan.starts[state.micro_batch]]
    return state.epoch + np.isin(former.training, seen).astype(np.int64)


def _warn_of_order(
    state: RunState, passes: npt.NDArray[np.int64], checkpoint: Path, reporter: Reporter
) -> None:
    left = int((passes <= state.epoch).sum())
    reporter.warn(
        "{checkpoint} was written by an earlier version, which drew clips and references by "
        "other numbers: {left} that epoch {epoch} had not come to follow "
        "in another order than they would have had.",
        "Every clip is still seen once per epoch, and nothing needs to be done. Held-out losses are measured "
        "with other references from now on, so small differences from earlier ones mean nothing.",
        checkpoint=checkpoint,
        left=plural(left, "the {number} clip", "the {number:,} clips"),
        epoch=state.epoch + 1,
    )


def _warn_of_repetition(state: RunState, checkpoint: Path, reporter: Reporter) -> None:
    reporter.warn(
        "{checkpoint} was written by an earlier version, and the shards have another order "
        "than then, so that nothing tells which clips epoch {epoch} has come to: that epoch "
        "begins again.",
        "Some clips are seen once more than others; all else continues. To avoid it, train on the shards as "
        "they were.",
        checkpoint=checkpoint,
        epoch=state.epoch + 1,
    )
