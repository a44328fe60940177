"""Which batch fits: from free memory to settings, and what would help where nothing fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, get_args

from pydantic import BaseModel, ConfigDict

from ...config.presets import lora_presets
from ...config.settings import BasePrecision
from ...errors import SettingsError
from ...messages import Message
from ...units import GIB, format_bytes
from ..readings import GpuProcess, Memory
from .estimate import MemoryEstimate
from .needs import EncodingNeeds, TrainingNeeds

MARGIN_BYTES: Final = 256 * 1024**2
"""Free memory that is left alone: headroom for other programs on the same GPU."""
CARD_SIZES: Final = (8, 12, 16, 24, 48, 80)
"""Gibibytes of common GPUs."""
SMALLEST_LENGTH: Final = 512
"""Columns: 20 s of speech with its text; shorter limits would refuse ordinary clips."""
LARGEST_BATCH_SECONDS: Final = 600.0
"""Audio a batch of extraction at most: progress is shown, and a stop obeyed, between batches."""
_STEP: Final = 128  # columns, between two lengths that are tried


class Available(BaseModel):
    """Memory that a stage may use on its device."""

    model_config = ConfigDict(frozen=True)

    gpu: str = ""
    """Name, to find measurements; empty for a card that is only imagined."""
    total: int
    free: int
    processes: tuple[GpuProcess, ...] = ()
    """Who holds the rest."""

    @property
    def usable(self) -> int:
        """Free memory less the margin."""
        return max(self.free - MARGIN_BYTES, 0)

    @classmethod
    def of(cls, name: str, memory: Memory, processes: tuple[GpuProcess, ...] = ()) -> Available:
        """Return what a reading of a GPU (or of a slice of one) leaves."""
        return cls(gpu=name, total=memory.total, free=memory.free, processes=processes)

    @classmethod
    def card(cls, size: int) -> Available:
        """Return an otherwise unused card of `size` bytes."""
        return cls(total=size, free=size)


class TrainingSuggestion(BaseModel):
    """Batch settings that fit, or what would."""

    model_config = ConfigDict(frozen=True)

    fits: bool
    batch_tokens: int
    accumulation: int
    need: MemoryEstimate
    """At these settings; where nothing fits, at the smallest batch."""
    without_checkpointing: bool = False
    """The same batch fits without recomputing blocks, which is faster."""
    measured: bool = False
    """A peak measured on this GPU with these settings went into it."""
    remedies: tuple[str, ...] = ()
    """What would fit, where nothing does."""


class ExtractionSuggestion(BaseModel):
    """Batch settings that fit, or what would."""

    model_config = ConfigDict(frozen=True)

    fits: bool
    batch_size: int
    batch_seconds: float
    need: MemoryEstimate
    measured: bool = False
    remedies: tuple[str, ...] = ()


def suggest_training(needs: TrainingNeeds, available: Available) -> TrainingSuggestion:
    """Return the largest micro-batch that fits, and the accumulation that keeps the effective batch.

    The effective batch is `batch_tokens · accumulation` of the options; a micro-batch is never larger.

    Raises:
        FishtuneError: a profile must be made and cannot.
    """
    without = needs.changed(checkpointing="none")
    needs.prepare([without])
    wanted, measured = needs.effective_tokens, needs.factor != 1.0

    def tokens(accumulation: int) -> int:
        return max(needs.longest, -(-wanted // accumulation))

    def fits(accumulation: int) -> bool:
        return needs.at(tokens(accumulation)).total <= available.usable

    fewest, most = 1, -(-wanted // needs.longest)
    if not fits(most):
        return TrainingSuggestion(
            fits=False,
            batch_tokens=needs.longest,
            accumulation=most,
            need=needs.at(needs.longest),
            measured=measured,
            remedies=tuple(_training_remedies(needs, available)),
        )
    while fewest < most:
        middle = (fewest + most) // 2
        fewest, most = (fewest, middle) if fits(middle) else (middle + 1, most)
    kept = without.at(tokens(fewest))
    return TrainingSuggestion(
        fits=True,
        batch_tokens=tokens(fewest),
        accumulation=fewest,
        need=needs.at(tokens(fewest)),
        without_checkpointing=needs.options.checkpointing == "blocks" and kept.total <= available.usable,
        measured=measured,
    )


def _training_remedies(needs: TrainingNeeds, available: Available) -> Iterator[Message]:
    """Yield what would make the longest sample fit, the mildest first."""

    def fits(other: TrainingNeeds, card: Available = available) -> bool:
        return other.at(other.longest).total <= card.usable

    if fits(needs, Available.card(available.total)):
        yield _ending_others(available)
    recomputing = False
    if needs.options.checkpointing == "none":
        needs = needs.changed(checkpointing="blocks")
        if fits(needs):
            yield Message("--checkpointing blocks")
            return
        recomputing = True
    fewer_bits = _fewer_bits(needs, fits)
    if fewer_bits is not None:
        yield _also(Message("--base-precision {precision}", precision=fewer_bits), recomputing)
    lengths = range(needs.longest - _STEP, SMALLEST_LENGTH - 1, -_STEP)
    length = next((length for length in lengths if fits(needs.changed(max_length=length))), None)
    if length is not None:
        yield _also(
            Message("clips of at most {length} tokens (--max-length {length})", length=length), recomputing
        )
    lighter = _lighter_preset(needs, fits)
    if lighter is not None:
        yield _also(Message("--lora-config {preset}", preset=lighter), recomputing)
    size = next((size for size in CARD_SIZES if fits(needs, Available.card(size * GIB))), None)
    if size is not None and size * GIB > available.total:
        yield _also(Message("a GPU of {size} GB", size=size), recomputing)


def _also(remedy: Message, recomputing: bool) -> Message:
    return Message("--checkpointing blocks with {other}", other=remedy) if recomputing else remedy


def _ending_others(available: Available) -> Message:
    return Message(
        "ending what else uses this GPU ({size} are taken)",
        size=format_bytes(available.total - available.free),
    )


def _fewer_bits(needs: TrainingNeeds, fits: Callable[[TrainingNeeds], bool]) -> BasePrecision | None:
    """Return the mildest way of quantising the base that helps; what is not known is left out, as below."""
    every: tuple[BasePrecision, ...] = get_args(BasePrecision)
    present = needs.options.base_precision
    for precision in every[every.index(present) + 1 :] if present else every:
        try:
            other = needs.changed(base_precision=precision)
        except SettingsError:  # what is trained does not go with it
            return None
        if other.known and fits(other):
            return precision
    return None


def _lighter_preset(needs: TrainingNeeds, fits: Callable[[TrainingNeeds], bool]) -> str | None:
    """Return the preset that needs most among those that fit, of no higher rank; for `full` any of LoRA.

    Presets that would have to be accounted first are left out: a remedy is not worth a minute.
    """
    present = needs.preset
    found = []
    for name, preset in lora_presets()[0].items():
        if preset.method == "full" or preset == present:
            continue
        try:
            other = needs.changed(preset)
        except SettingsError:  # does not go with a quantised base
            continue
        if (present.method == "full" or preset.rank <= present.rank) and other.known and fits(other):
            found.append((other.at(other.longest).total, name))
    return max(found)[1] if found else None


def suggest_extraction(
    needs: EncodingNeeds, available: Available, longest: float, *, typical: float | None = None
) -> ExtractionSuggestion:
    """Return the largest batch that fits.

    Args:
        longest: seconds of the longest clip.
        typical: seconds of a typical clip, from which the number of clips follows; None = the longest.

    Raises:
        FishtuneError: a profile must be made and cannot.
    """
    needs.prepare()
    measured = needs.factor != 1.0

    def fits(clips: int, seconds: float) -> bool:
        return needs.at(clips, seconds).total <= available.usable

    if not fits(1, longest):
        return ExtractionSuggestion(
            fits=False,
            batch_size=1,
            batch_seconds=longest,
            need=needs.at(1, longest),
            measured=measured,
            remedies=tuple(_extraction_remedies(available, longest, fits, needs.at(1, longest).total)),
        )
    low, high = 1, max(1, int(LARGEST_BATCH_SECONDS // longest))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle, longest) else (low, middle - 1)
    seconds = low * longest
    return ExtractionSuggestion(
        fits=True,
        batch_size=max(1, int(seconds // (typical or longest))),
        batch_seconds=seconds,
        need=needs.at(low, longest),
        measured=measured,
    )


def _extraction_remedies(
    available: Available, longest: float, fits: Callable[[int, float], bool], needed: int
) -> Iterator[Message]:
    if needed <= Available.card(available.total).usable:
        yield _ending_others(available)
    seconds = next((s for s in (120, 60, 30, 20, 15, 10, 5) if s < longest and fits(1, s)), None)
    if seconds is not None:
        yield Message("clips of at most {seconds} s", seconds=seconds)
    size = next((size for size in CARD_SIZES if needed <= Available.card(size * GIB).usable), None)
    if size is not None and size * GIB > available.total:
        yield Message("a GPU of {size} GB", size=size)
    yield Message("--device cpu, which is slower")
