"""What a run will come to: the sampler's own plan, counted. Starts no torch, trains nothing."""

from __future__ import annotations

import numpy as np

from ...config.settings import TrainSettings
from ...events import Reporter
from ...model.directory import ModelDirectory
from .clips import TrainingClips, epochs_of, load_clips
from .planned import PlannedRun
from .resume import Horizon, Standing


def plan_run(settings: TrainSettings, reporter: Reporter | None = None) -> PlannedRun:
    """Return what a run with these settings comes to.

    Lengths that are not kept beside the shards yet are measured, which takes seconds for a large data set.

    Raises:
        ShardError: the shards are missing or damaged.
        DataError: the codes do not fit the model, or no clip can be trained on.
        CheckpointError: there is no base whose tokenizer could measure the transcripts.
    """
    clips = load_clips(settings, ModelDirectory.open(settings.base), reporter or Reporter())
    per_step = settings.accumulation * settings.devices * settings.num_nodes
    sampler = clips.sampler(settings.batch_tokens, per_step, settings.seed)
    first = sampler.epoch(0)
    tokens = int((np.diff(first.starts) * first.columns).sum())
    horizon = Horizon.of(epochs_of(settings, clips), settings.max_steps, Standing(), sampler, sampler)
    steps_per_epoch = len(first) / per_step
    return PlannedRun(
        clips=len(clips.split.training),
        held_out=len(clips.split.held_out),
        left_out=len(clips.packed.index) - len(clips.table.frames),
        epochs=_passes(settings, clips, horizon, steps_per_epoch),
        steps=horizon.total_steps,
        steps_per_epoch=steps_per_epoch,
        tokens_per_step=tokens / steps_per_epoch,
    )


def _passes(
    settings: TrainSettings, clips: TrainingClips, horizon: Horizon, steps_per_epoch: float
) -> float | None:
    """Return the passes at the end, whichever limit comes first."""
    if horizon.total_steps is None:
        return None
    wanted = epochs_of(settings, clips)
    ended_by_steps = settings.max_steps is not None and horizon.total_steps == settings.max_steps
    if wanted is not None and not ended_by_steps:
        return wanted
    return horizon.total_steps / steps_per_epoch
