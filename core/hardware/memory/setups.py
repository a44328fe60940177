"""What the memory of a stage depends on, beside the size of its batch."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from ...codec.config import CodecConfig
from ...config.presets import LoraPreset, check_base_precision
from ...config.settings import BasePrecision, Checkpointing, TrainOptions
from ...model.shape import Shape
from ...model.targets import match_targets, patterns
from .estimate import Part

Precision = Literal["bf16", "float32"]
_SHORTEST = 64
"""Columns of the rows that lines are measured with."""
_LINE = (64, 256, 512, 1024, 3072, 8192)
"""Columns of the micro-batches that are measured. Beyond the last, memory grows as between the last two."""
_OF_FRAMES = (Part.LOGITS, Part.FAST)
_MIDDLE, _LONGEST = 1024, 4096
"""Columns of the rows that show what attention takes. Among short rows a longer one costs less than among
long ones: what the layers make beside attention is more."""


class TrainingBatch(NamedTuple):
    """The size of a micro-batch."""

    tokens: int
    """Columns, padding included."""
    longest: int
    """Columns of its rows."""
    frames: int
    """Columns whose codes are learnt; those of reference utterances are not."""

    @property
    def size(self) -> int:
        """What memory depends on most: columns."""
        return self.tokens

    @property
    def offsets(self) -> tuple[int, int, int]:
        """What else it depends on, from where lines are measured: frames, and products of attention.

        Those of short rows and what is longer are two, each with a slope of its own.
        """
        return (
            self.frames - self.tokens,
            self.tokens * (min(self.longest, _MIDDLE) - _SHORTEST),
            self.tokens * max(self.longest - _MIDDLE, 0),
        )

    def seen_by(self, part: Part) -> tuple[int, tuple[int, ...]]:
        """Return size and offsets as they count for a part of memory.

        Logits and the fast stack never see more of a batch than the frames, and that in pieces: up to a full
        piece they grow with the frames, then no more, which no slope at one size can tell.
        """
        beside, *products = self.offsets
        return (self.frames, (0, *products)) if part in _OF_FRAMES else (self.tokens, (beside, *products))


class EncodingBatch(NamedTuple):
    """A batch of extraction; shorter clips are padded."""

    clips: int
    samples: int
    """Of each, at the codec's rate, padded to whole frames."""

    @property
    def size(self) -> int:
        """What memory depends on: samples of all clips."""
        return self.clips * self.samples

    @property
    def offsets(self) -> tuple[int, ...]:
        """Nothing else."""
        return ()

    def seen_by(self, _part: Part) -> tuple[int, tuple[int, ...]]:
        """Return size and offsets, which are the same for every part of memory."""
        return self.size, self.offsets

    @classmethod
    def of(cls, config: CodecConfig, clips: int, seconds: float) -> EncodingBatch:
        """Return the batch of clips of `seconds` each."""
        samples = math.ceil(seconds * config.sample_rate)
        return cls(clips, config.frames(samples) * config.frame_length)


@dataclass(frozen=True)
class TrainingSetup:
    """A model and how it is trained.

    Args:
        targets: patterns of the modules that get adapters.
        accumulated: gradients of earlier micro-batches are there when a micro-batch is computed. Those of
            adapters are small and counted as always there.
        distributed: several processes train together, and torch keeps a second copy of all gradients to
            exchange (DistributedDataParallel's buckets).
        compiled: torch's compiler runs the blocks, and keeps less of them. Only where all is kept that is:
            what is computed again is the same, compiled or not.
    """

    config: Shape
    method: Literal["lora", "full"]
    precision: Precision
    checkpointing: Checkpointing
    accumulated: bool
    rank: int = 0
    targets: tuple[str, ...] = ()
    dropout: bool = False
    dora: bool = False
    distributed: bool = False
    base_precision: BasePrecision | None = None
    compiled: bool = False

    @classmethod
    def of(
        cls,
        config: Shape,
        options: TrainOptions,
        preset: LoraPreset,
        precision: Precision = "bf16",
        *,
        compiled: bool = False,
    ) -> TrainingSetup:
        """Return the set-up of training with these settings.

        Args:
            precision: what `options.precision` comes to on the device, where that is `auto`.
            compiled: whether blocks are compiled there. In float32, or with DoRA, memory is taken to be that
                of blocks that are not.

        Raises:
            SettingsError: a target is not a regular expression, or the base cannot be quantised.
        """
        check_base_precision(preset, options.base_precision)
        full = preset.method == "full"
        match_targets(preset.targets, ())  # refuses what is not a pattern
        precision = precision if options.precision == "auto" else options.precision
        is_plain = precision == "bf16" and (full or not preset.use_dora)
        return cls(
            config=config,
            method=preset.method,
            precision=precision,
            # What `auto` comes to where memory is short.
            checkpointing="blocks" if options.checkpointing == "auto" else options.checkpointing,
            accumulated=options.accumulation > 1 or not full,
            rank=0 if full else preset.rank,
            targets=() if full else tuple(patterns(preset.targets)),
            dropout=not full and preset.dropout > 0,
            dora=not full and preset.use_dora,
            distributed=options.devices * options.num_nodes > 1,
            base_precision=options.base_precision,
            compiled=compiled and is_plain and options.checkpointing == "none",
        )

    @property
    def alone(self) -> TrainingSetup:
        """The same in one process, before it joins others."""
        return replace(self, distributed=False)

    def line(self) -> list[TrainingBatch]:
        """Return micro-batches of growing size."""
        length = self._length(_SHORTEST)
        return [TrainingBatch(tokens, length, tokens) for tokens in _LINE]

    def probes(self) -> list[TrainingBatch]:
        """Return the largest of them with fewer frames, with longer rows, and with the longest."""
        largest = self.line()[-1]
        return [
            largest._replace(frames=largest.tokens // 2),
            largest._replace(longest=self._length(_MIDDLE)),
            largest._replace(longest=self._length(_LONGEST)),
        ]

    def _length(self, wanted: int) -> int:
        """Return the most columns up to `wanted` that a row may have and that divide every batch."""
        largest: int = 1 << (self.config.max_seq_len.bit_length() - 1)
        return min(wanted, largest)

    @property
    def fingerprint(self) -> str:
        """What tells it from every other."""
        return fingerprint(self)


@dataclass(frozen=True)
class EncodingSetup:
    """A codec that encodes one clip at a time, or several, which it puts side by side."""

    codec: CodecConfig
    several: bool

    def line(self) -> list[EncodingBatch]:
        """Return batches of growing size."""
        wanted = ((2, 5), (2, 20), (6, 20), (16, 20)) if self.several else ((1, 2), (1, 20), (1, 80))
        # Another codec's frames may be so long that it takes shorter clips only.
        longest = self.codec.max_seconds
        return [EncodingBatch.of(self.codec, clips, min(seconds, longest)) for clips, seconds in wanted]

    def probes(self) -> list[EncodingBatch]:
        """Return nothing: only the size of a batch matters."""
        return []

    @property
    def fingerprint(self) -> str:
        """What tells it from every other."""
        return fingerprint(self)


Batch = TrainingBatch | EncodingBatch
Setup = TrainingSetup | EncodingSetup


def fingerprint(*values: object) -> str:
    """Return 16 hex digits of the values' `repr`."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]
