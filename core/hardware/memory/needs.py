"""What one set-up needs at any size of batch, predicted and corrected by what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ...codec.config import CodecConfig
from ...config.presets import LoraPreset
from ...config.settings import TrainOptions
from ...model.shape import Shape
from .estimate import MemoryEstimate, Part
from .measured import MeasurementCache, Setting
from .profiles import Profiles
from .setups import EncodingBatch, EncodingSetup, Precision, TrainingBatch, TrainingSetup


class TrainingNeeds:
    """What one training set-up needs, for any size of micro-batch.

    What asks for bytes raises `FishtuneError` where a profile must be made and cannot (`Profiles.get`).

    Args:
        gpu: name of the device, to find what was measured on it.
        precision: what `auto` comes to on the device.
        longest: columns of the longest sample; None = `options.max_length`.
        cache: where measured peaks are; None = predictions are not corrected.
        profiles: None = profiles are made without telling how far that is.
        compiled: whether torch's compiler runs the blocks.

    Raises:
        SettingsError: a target of the preset is not a regular expression.
    """

    def __init__(
        self,
        config: Shape,
        options: TrainOptions,
        preset: LoraPreset,
        gpu: str = "",
        *,
        precision: Precision = "bf16",
        longest: int | None = None,
        cache: MeasurementCache | None = None,
        profiles: Profiles | None = None,
        compiled: bool = False,
    ) -> None:
        self.config, self.options, self.preset, self.gpu = config, options, preset, gpu
        self.precision = precision
        self.compiled = compiled
        self.longest = longest or options.max_length
        self.cache = cache
        self.profiles = profiles or Profiles()
        self.setup = TrainingSetup.of(config, options, preset, precision, compiled=compiled)
        self.factor = cache.factor(self.setting) if cache else 1.0

    @property
    def effective_tokens(self) -> int:
        """Columns of an optimizer step as the options want it."""
        return max(self.options.batch_tokens * self.options.accumulation, self.longest)

    @property
    def setting(self) -> Setting:
        """What a measurement of this set-up holds for."""
        # Measured is one process before it joins others, and the size of its batch is no part of it.
        return Setting.of(self.gpu, "train", replace(self.setup, accumulated=False).alone)

    @property
    def setups(self) -> tuple[TrainingSetup, ...]:
        """The set-ups whose profiles predictions are made from: with and without accumulation."""
        both = (self._accounted(accumulated=False), self._accounted(accumulated=True))
        return both[1:] if self.preset.method == "lora" else both

    @property
    def known(self) -> bool:
        """Whether predictions are at hand, and nothing need be accounted first."""
        return all(self.profiles.known(setup) for setup in self.setups)

    def prepare(self, others: Iterable[TrainingNeeds] = ()) -> None:
        """Make profiles that predictions here and in `others` are made from, as far as they are unknown."""
        self.profiles.prepare(setup for needs in (self, *others) for setup in needs.setups)

    def predicted(self, tokens: int, frames: int | None = None) -> MemoryEstimate:
        """Return what a micro-batch of `tokens` columns needs by accounting alone.

        Args:
            frames: codes learnt in it; None = as many as columns, which bounds them.
        """
        setup = self._accounted(accumulated=tokens < self.effective_tokens)
        batch = TrainingBatch(tokens, min(self.longest, tokens), tokens if frames is None else frames)
        parts = self.profiles.get(setup).at(batch)
        if self.setup.distributed:
            trained = parts[Part.OPTIMIZER] // 2  # AdamW keeps two numbers of that size for every weight
            parts[Part.GRADIENTS] = parts.get(Part.GRADIENTS, 0) + trained
        return MemoryEstimate.of(parts)

    def at(self, tokens: int) -> MemoryEstimate:
        """Return what a micro-batch of `tokens` columns needs, corrected by what was measured."""
        return self.predicted(tokens).corrected(self.factor)

    def changed(self, preset: LoraPreset | None = None, **options: Any) -> TrainingNeeds:
        """Return the needs of another preset or other options."""
        new = self.options.model_copy(update=options)
        return TrainingNeeds(
            self.config,
            new,
            preset or self.preset,
            self.gpu,
            precision=self.precision,
            longest=min(self.longest, new.max_length),
            cache=self.cache,
            profiles=self.profiles,
            compiled=self.compiled,
        )

    def _accounted(self, *, accumulated: bool) -> TrainingSetup:
        return replace(self.setup.alone, accumulated=accumulated or self.preset.method == "lora")


class EncodingNeeds:
    """What extraction with one codec needs, for any batch; arguments and errors as in `TrainingNeeds`."""

    def __init__(
        self,
        codec: CodecConfig,
        gpu: str = "",
        *,
        cache: MeasurementCache | None = None,
        profiles: Profiles | None = None,
    ) -> None:
        self.codec = codec
        self.profiles = profiles or Profiles()
        self.setting = Setting.of(gpu, "extract", codec)
        self.factor = cache.factor(self.setting) if cache else 1.0

    @property
    def known(self) -> bool:
        """Whether predictions are at hand, and nothing need be accounted first."""
        return all(self.profiles.known(setup) for setup in self._setups)

    @property
    def _setups(self) -> list[EncodingSetup]:
        return [EncodingSetup(self.codec, several=several) for several in (False, True)]

    def prepare(self) -> None:
        """Make the profiles that predictions are made from, as far as they are unknown."""
        self.profiles.prepare(self._setups)

    def predicted(self, batch: EncodingBatch) -> MemoryEstimate:
        """Return what encoding a batch needs by accounting alone."""
        setup = EncodingSetup(self.codec, several=batch.clips > 1)
        return MemoryEstimate.of(self.profiles.get(setup).at(batch))

    def at(self, clips: int, seconds: float) -> MemoryEstimate:
        """Return what encoding clips of `seconds` each needs, corrected by what was measured."""
        return self.predicted(EncodingBatch.of(self.codec, clips, seconds)).corrected(self.factor)
