"""Which packed utterances a run trains on, how long each is, and which of them are held out. Starts no torch.

Sentences stay in their shards until a batch needs them. What is kept of each is its length: tokenising all
transcripts takes seconds for a large data set, so the lengths are kept in a file beside the shards (in the
user's cache folder where that cannot be written).

Clips have numbers, by which orders and references are drawn. They follow from the contents of the clips that
can be used and from nothing else, so renamed files, or a further clip that is too long, change no draw.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...codec.config import FRAME_RATE
from ...config.settings import TrainSettings
from ...dataset.headers import HeaderError, parse_header
from ...errors import DataError, StorageError
from ...events import ItemFailed, ProgressMeter, Reporter
from ...files import atomic_open
from ...messages import Message, joined
from ...model.directory import ModelDirectory
from ...model.shape import Shape
from ...reading import read_regular
from ...shards.index import ShardIndex
from ...shards.manifest import LENGTHS_FILE
from ...shards.split import IntArray, Split, split
from ...text.cleaning import TEXT_FORM
from ...text.prompts import PromptFormat, Turn
from ...user_folders import cache_file
from .sampler import ClipTable, References, Sampler

DEFAULT_PASSES = 250
"""Passes of a clip where no limit is set: the low end of what is ordinary for small sets."""
DEFAULT_HOURS = 250.0
"""Hours of speech seen in all, where no limit is set: larger sets need fewer passes."""
_FEWEST_PASSES = 5
_FRAMES_PER_HOUR = 3600 * FRAME_RATE
_ORDER = b"numbered by content\n"
_LENGTHS_ROOM = 4096  # bytes of a header and two entries, at most


@dataclass(frozen=True)
class PackedClips:
    """Packed utterances by their numbers."""

    index: ShardIndex
    base: ModelDirectory
    prompt: PromptFormat
    places: IntArray
    """Where in the index every clip is, by its number."""

    def turn(self, clip: int) -> Turn:
        """Return an utterance; of several variants of its transcript, the first."""
        sentence = self.index.read(int(self.places[clip]))
        return Turn(sentence.texts[0], sentence.codes)


@dataclass(frozen=True)
class TrainingClips:
    """The packed utterances of a run."""

    packed: PackedClips
    table: ClipTable
    split: Split
    references: References
    fingerprint: str
    """Hash of what is trained on and held out, in the order of the clips' numbers: where it is the same, so
    is every draw. The same clips give the same one, however they are named and packed."""

    def sampler(self, batch_tokens: int, per_step: int, seed: int) -> Sampler:
        """Return the sampler of the training clips."""
        return Sampler(self.table, self.split.training, self.references, batch_tokens, per_step, seed)


def epochs_of(settings: TrainSettings, clips: TrainingClips) -> float | None:
    """Return after how many epochs a run ends; None where steps or minutes alone limit it."""
    if settings.epochs is not None or settings.max_steps is not None or settings.max_minutes is not None:
        return settings.epochs
    hours = int(clips.table.frames[clips.split.training].sum()) / _FRAMES_PER_HOUR
    return float(max(_FEWEST_PASSES, min(DEFAULT_PASSES, math.floor(DEFAULT_HOURS / hours))))


def load_clips(settings: TrainSettings, base: ModelDirectory, reporter: Reporter) -> TrainingClips:
    """Open the packed data set of a run and split it.

    Clips too long for one sequence are left out, each named by an `ItemFailed` event; none is ever cut.

    Raises:
        ShardError: the shards are missing or damaged.
        DataError: the codes do not fit the model, or no clip can be trained on.
    """
    index = ShardIndex.open(settings.protos)
    _check_codes(index, base.shape)
    everything = PackedClips(index, base, settings.prompt, np.arange(len(index)))
    lengths, as_references = clip_lengths(everything, reporter)
    limit = min(settings.max_length, settings.batch_tokens, base.shape.max_seq_len)
    _report_refused(index, lengths, limit, settings, reporter)
    content = np.ascontiguousarray(index.content_hashes, dtype=np.uint64)
    usable = np.flatnonzero(lengths <= limit)
    usable = usable[np.argsort(content[usable], kind="stable")]
    table = ClipTable(
        speakers=index.speaker_ids[usable].astype(np.int32),
        turns=lengths[usable],
        as_references=as_references[usable],
        frames=index.frames[usable].astype(np.int32),
    )
    sides = split(table.speakers, content[usable], settings.held_out)
    if len(sides.training) == 0:
        raise DataError(
            "No clip of {protos} can be trained on: all {number} exceed {limit} tokens.",
            "Raise --batch-tokens and --max-length, or cut the recordings into shorter ones.",
            protos=settings.protos,
            number=len(index),
            limit=limit,
        )
    # The reference of the legacy format would have no place in its prompt.
    probability = settings.reference_probability if settings.prompt == "inference" else 0.0
    return TrainingClips(
        packed=replace(everything, places=usable),
        table=table,
        split=sides,
        references=References(table, sides.training, probability, limit, settings.seed),
        fingerprint=hashlib.sha256(_ORDER + content[usable].tobytes()).hexdigest(),
    )


def _check_codes(index: ShardIndex, shape: Shape) -> None:
    largest = max(index.largest_codes)
    if index.num_codebooks != shape.num_codebooks or largest >= shape.codebook_size:
        raise DataError(
            "The packed codes of {folder} do not fit the model: they have {number} "
            "codebooks with codes up to {largest}, the model {wanted} codebooks of {size}.",
            "Extract the recordings with the codec of this model, and pack them again.",
            folder=index.folder,
            number=index.num_codebooks,
            largest=largest,
            wanted=shape.num_codebooks,
            size=shape.codebook_size,
        )


def _report_refused(
    index: ShardIndex,
    lengths: npt.NDArray[np.int32],
    limit: int,
    settings: TrainSettings,
    reporter: Reporter,
) -> None:
    hint = Message("Cut the recording into shorter ones.")
    if limit == settings.batch_tokens:
        hint = joined([hint, Message("Or raise --batch-tokens, if the memory allows it.")])
    elif limit == settings.max_length:
        hint = joined([hint, Message("Or raise --max-length.")])
    for clip in np.flatnonzero(lengths > limit).tolist():
        reporter.emit(
            ItemFailed(
                item=index.name(clip),
                message=Message(
                    "Left out: {length} tokens, more than the {limit} allowed.",
                    length=lengths[clip],
                    limit=limit,
                ),
                hint=hint,
            )
        )


def clip_lengths(source: PackedClips, reporter: Reporter) -> npt.NDArray[np.int32]:
    """Return the columns of every clip, alone and as another's reference: `(2, clips)`.

    They are read from the file that is kept of them, if it fits.

    Args:
        source: of all clips of its index.
    """
    key = _lengths_key(source)
    places = (
        source.index.folder / LENGTHS_FILE,
        cache_file("lengths", source.index.folder.resolve(), ".npy"),
    )
    for file in places:
        stored = _stored_lengths(file, len(source.index), key)
        if stored is not None:
            return stored
    meter = ProgressMeter(reporter, Message("measuring transcripts"), len(source.index), "clips")
    lengths = np.zeros((2, len(source.index)), dtype=np.int64)
    for clip in range(len(source.index)):
        reporter.check_stop("Nothing was trained yet.")
        length = source.base.prompts.measure(source.prompt, source.turn(clip).text)
        lengths[:, clip] = (length.alone, length.as_reference)
        meter.advance()
    lengths += source.index.frames
    content = np.concatenate([[_lengths_checksum(key, lengths), key], lengths.ravel()])
    for file in places:
        with contextlib.suppress(StorageError), atomic_open(file) as target:
            np.save(target, content)
            break
    return lengths.astype(np.int32)


def _stored_lengths(file: Path, count: int, key: int) -> npt.NDArray[np.int32] | None:
    """Return the lengths kept in `file`, or None where it is absent, damaged or of other clips.

    It is an int64 array: a checksum of the others, the key, every clip's length alone, then as a reference.
    """
    try:
        content = read_regular(file, 16 * count + _LENGTHS_ROOM)
        header = parse_header(content)
    except (DataError, StorageError, HeaderError):
        return None
    if (header.descr, header.shape, header.size) != ("<i8", (2 * count + 2,), len(content)):
        return None
    values = np.frombuffer(content, dtype="<i8", offset=header.offset)
    if values[1] != key or values[0] != _lengths_checksum(key, values[2:]):
        return None
    return values[2:].reshape(2, count).astype(np.int32)


def _lengths_checksum(key: int, lengths: IntArray) -> int:
    content = np.concatenate([[key], lengths.ravel()]).astype("<i8").tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=7).digest(), "little")  # fits an int64


def _lengths_key(source: PackedClips) -> int:
    digest = hashlib.blake2b(digest_size=7)  # fits an int64
    digest.update(f"{source.base.family.name} {source.prompt} {TEXT_FORM}".encode())
    for file in source.base.family.tokenizer_files(source.base.path):
        digest.update(file.read_bytes() if file.exists() else b"")
    digest.update(np.ascontiguousarray(source.index.content_hashes).tobytes())
    return int.from_bytes(digest.digest(), "little")
