"""What a run trains on: packed utterances, which of them are held out, and samples made of them on demand.

Sentences stay in their shards until a batch needs them. What is kept of each is its length: tokenising all
transcripts takes seconds for a large data set, so the lengths are kept in a file beside the shards (in the
person's cache folder where that cannot be written).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs
from torch.utils.data import DataLoader, Dataset

from ..errors import DataError, StorageError
from ..events import ItemFailed, ProgressMeter, Reporter
from ..files import atomic_open
from ..model.config import DualARConfig
from ..packing.index import CACHE_PREFIX, ShardIndex
from ..settings import TrainSettings
from ..text.cleaning import TEXT_FORM
from ..text.prompts import PromptFormat, TrainingSequence, Turn, training_sequence
from ..text.tokenizer import Tokenizer
from .batches import Batch, StepBatch, collate
from .sampler import NO_REFERENCE, ClipTable, MicroBatch, References, Sampler, StepPlan
from .split import Split, split

LENGTHS_FILE = f"{CACHE_PREFIX}lengths.npy"


@dataclass(frozen=True)
class TrainingData:
    """The packed utterances of a run."""

    source: SampleSource
    table: ClipTable
    split: Split
    references: References
    fingerprint: str
    """Hash of what is trained on and held out: the same clips give the same one, in any order."""

    def sampler(self, batch_tokens: int, per_step: int, seed: int) -> Sampler:
        """Return the sampler of the training clips."""
        return Sampler(self.table, self.split.training, self.references, batch_tokens, per_step, seed)


@dataclass(frozen=True)
class SampleSource(Dataset[StepBatch]):
    """Makes batches of planned clips. It may be sent to data-loading processes."""

    index: ShardIndex
    tokenizer_folder: Path
    tokenizer: Tokenizer
    prompt: PromptFormat
    num_codebooks: int

    def __reduce__(self) -> tuple[object, ...]:
        # A tokenizer cannot be pickled, and reading it again is quick.
        return _open_source, (self.index, self.tokenizer_folder, self.prompt, self.num_codebooks)

    def turn(self, clip: int) -> Turn:
        """Return an utterance; of several variants of its transcript, the first."""
        sentence = self.index.read(clip)
        return Turn(sentence.texts[0], sentence.codes)

    def sequence(self, clip: int, reference: int) -> TrainingSequence:
        """Return the sample of a clip after its reference, or alone with `NO_REFERENCE`."""
        references = [] if reference == NO_REFERENCE else [self.turn(reference)]
        return training_sequence(self.tokenizer, self.prompt, references, self.turn(clip), self.num_codebooks)

    def batch(self, plan: MicroBatch) -> Batch:
        """Return a micro-batch."""
        pairs = zip(plan.clips.tolist(), plan.references.tolist(), strict=True)
        return collate([self.sequence(clip, reference) for clip, reference in pairs])

    def __getitem__(self, plan: StepPlan) -> StepBatch:
        return StepBatch(plan, tuple(self.batch(part) for part in plan.micro_batches))


def _open_source(
    index: ShardIndex, tokenizer_folder: Path, prompt: PromptFormat, num_codebooks: int
) -> SampleSource:
    return SampleSource(
        index, tokenizer_folder, Tokenizer.from_directory(tokenizer_folder), prompt, num_codebooks
    )


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


def load_data(
    settings: TrainSettings, config: DualARConfig, tokenizer: Tokenizer, reporter: Reporter
) -> TrainingData:
    """Open the packed data set of a run and split it.

    Clips too long for one sequence are left out, each named by an `ItemFailed` event; none is ever cut.

    Raises:
        ShardError: the shards are missing or damaged.
        DataError: the codes do not fit the model, or no clip can be trained on.
    """
    index = ShardIndex.open(settings.protos)
    _check_codes(index, config)
    source = SampleSource(index, settings.base, tokenizer, settings.prompt, config.num_codebooks)
    table = ClipTable(
        speakers=np.ascontiguousarray(index.speaker_ids, dtype=np.int32),
        turns=_lengths(source, reporter),
        frames=np.ascontiguousarray(index.frames, dtype=np.int32),
    )
    limit = min(settings.max_length, settings.batch_tokens, config.max_seq_len)
    usable = np.flatnonzero(table.turns <= limit)
    _report_refused(index, table, limit, settings, reporter)
    content = np.ascontiguousarray(index.content_hashes, dtype=np.uint64)
    sides = split(table.speakers[usable], content[usable], settings.held_out)
    sides = Split(training=usable[sides.training], held_out=usable[sides.held_out])
    if len(sides.training) == 0:
        raise DataError(
            f"No clip of {settings.protos} can be trained on: all {len(index)} exceed {limit} columns.",
            "Raise --batch-tokens and --max-length, or cut the recordings into shorter ones.",
        )
    # The reference of the legacy format would have no place in its prompt.
    probability = settings.reference_probability if settings.prompt == "inference" else 0.0
    return TrainingData(
        source=source,
        table=table,
        split=sides,
        references=References(table, sides.training, probability, limit, settings.seed),
        fingerprint=hashlib.sha256(np.sort(content[usable]).tobytes()).hexdigest(),
    )


def _check_codes(index: ShardIndex, config: DualARConfig) -> None:
    largest = max(index.largest_codes)
    if index.num_codebooks != config.num_codebooks or largest >= config.codebook_size:
        raise DataError(
            f"The packed codes of {index.folder} do not fit the model: they have {index.num_codebooks} "
            f"codebooks with codes up to {largest}, the model {config.num_codebooks} codebooks of "
            f"{config.codebook_size}.",
            "Extract the recordings with the codec of this model, and pack them again.",
        )


def _report_refused(
    index: ShardIndex, table: ClipTable, limit: int, settings: TrainSettings, reporter: Reporter
) -> None:
    hint = "Cut the recording into shorter ones."
    if limit == settings.batch_tokens:
        hint += " Or raise --batch-tokens, if the memory allows it."
    elif limit == settings.max_length:
        hint += " Or raise --max-length."
    for clip in np.flatnonzero(table.turns > limit).tolist():
        reporter.emit(
            ItemFailed(
                item=index.name(clip),
                message=f"Left out: {table.turns[clip]} columns, more than the {limit} allowed.",
                hint=hint,
            )
        )


def _lengths(source: SampleSource, reporter: Reporter) -> npt.NDArray[np.int32]:
    """Return the columns of every clip's own sequence, from the file kept of them if it fits."""
    key = _lengths_key(source)
    places = (source.index.folder / LENGTHS_FILE, _cache_file(source.index.folder))
    for file in places:
        with contextlib.suppress(OSError, ValueError, EOFError):
            stored = np.load(file, allow_pickle=False)
            if stored.dtype == np.int64 and stored.shape == (len(source.index) + 1,) and stored[0] == key:
                lengths: npt.NDArray[np.int32] = stored[1:].astype(np.int32)
                return lengths
    meter = ProgressMeter(reporter, "measuring transcripts", len(source.index), "clips")
    one_frame = np.zeros((source.num_codebooks, 1), dtype=np.int64)
    lengths = np.zeros(len(source.index) + 1, dtype=np.int64)
    lengths[0] = key
    for clip in range(len(source.index)):
        reporter.check_stop("Nothing was trained yet.")
        # A frame is one column whatever its codes are.
        text = source.turn(clip).text
        alone = training_sequence(
            source.tokenizer, source.prompt, [], Turn(text, one_frame), source.num_codebooks
        )
        lengths[clip + 1] = alone.tokens.shape[1] - 1 + source.index.frames[clip]
        meter.advance()
    for file in places:
        with contextlib.suppress(StorageError), atomic_open(file) as target:
            np.save(target, lengths)
            break
    return lengths[1:].astype(np.int32)


def _lengths_key(source: SampleSource) -> int:
    digest = hashlib.blake2b(digest_size=7)  # fits an int64
    digest.update(f"{source.prompt} {TEXT_FORM}".encode())
    for name in ("tokenizer.tiktoken", "special_tokens.json"):
        file = source.tokenizer_folder / name
        digest.update(file.read_bytes() if file.exists() else b"")
    digest.update(np.ascontiguousarray(source.index.content_hashes).tobytes())
    return int.from_bytes(digest.digest(), "little")


def _cache_file(folder: Path) -> Path:
    digest = hashlib.blake2b(bytes(folder.resolve()), digest_size=12).hexdigest()
    return Path(platformdirs.user_cache_dir("fishtune")) / "lengths" / f"{digest}.npy"
