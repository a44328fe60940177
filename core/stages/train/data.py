"""Batches of packed utterances, made on demand: what the training process loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from ...config.settings import TrainSettings
from ...events import Reporter
from ...model.directory import ModelDirectory
from ...shards.index import ShardIndex
from ...shards.split import IntArray
from ...text.prompts import PromptFormat, TrainingSequence
from .batches import Batch, StepBatch, collate
from .clips import PackedClips, TrainingClips, load_clips
from .sampler import NO_REFERENCE, MicroBatch, StepPlan


@dataclass(frozen=True)
class SampleSource(PackedClips, Dataset[StepBatch]):
    """Makes batches of planned clips. It may be sent to data-loading processes."""

    def __reduce__(self) -> tuple[object, ...]:
        # A tokenizer cannot be pickled, and reading it again is quick.
        return _open_source, (self.index, self.base.path, self.prompt, self.places)

    def sequence(self, clip: int, reference: int, variant: int = 0) -> TrainingSequence:
        """Return the sample of a clip after its reference, or alone with `NO_REFERENCE`."""
        references = [] if reference == NO_REFERENCE else [self.turn(reference)]
        return self.base.prompts.training_sequence(self.prompt, references, self.turn(clip), variant)

    def batch(self, plan: MicroBatch) -> Batch:
        """Return the sequences of a planned micro-batch, padded to one length.

        Half of the clips are in each of two variants, and each clip in the other one in the next epoch.
        """
        variants = (plan.clips + plan.epoch) % self.base.prompts.variants
        samples = zip(plan.clips.tolist(), plan.references.tolist(), variants.tolist(), strict=True)
        return collate([self.sequence(*sample) for sample in samples])

    def __getitem__(self, plan: StepPlan) -> StepBatch:
        return StepBatch(plan, tuple(self.batch(part) for part in plan.micro_batches))


def _open_source(index: ShardIndex, base: Path, prompt: PromptFormat, places: IntArray) -> SampleSource:
    return SampleSource(index, ModelDirectory.open(base), prompt, places)


class PlannedSteps:
    """Hands the plans of one process to its loader, in order."""

    def __init__(self, plans: Iterator[StepPlan], rank: int, world_size: int) -> None:
        self._plans = plans
        self._rank = rank
        self._world_size = world_size

    def __iter__(self) -> Iterator[StepPlan]:
        return (plan.of_rank(self._rank, self._world_size) for plan in self._plans)


def step_loader(source: SampleSource, plans: PlannedSteps, num_workers: int) -> DataLoader[StepBatch]:
    """Return a loader that makes the planned batches in order, in `num_workers` processes."""
    return DataLoader(source, sampler=plans, batch_size=None, num_workers=num_workers)


@dataclass(frozen=True)
class TrainingData(TrainingClips):
    """The packed utterances of a run, and what makes batches of them."""

    @cached_property
    def source(self) -> SampleSource:
        """What makes batches of them."""
        return SampleSource(**vars(self.packed))


def load_data(settings: TrainSettings, base: ModelDirectory, reporter: Reporter) -> TrainingData:
    """Open the packed data set of a run and split it; see `load_clips`, errors included."""
    found = load_clips(settings, base, reporter)
    return TrainingData(**vars(found))
