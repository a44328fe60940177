"""Memory that training will need with each preset, and what fits the GPU: numbers behind a suggestion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..core.errors import FishtuneError
from ..core.hardware.ledger import Part
from ..core.hardware.memory import training_memory, training_plan
from ..core.hardware.readings import GpuReading
from ..core.model.config import DualARConfig, read_config
from ..core.presets import lora_preset, model_preset
from ..core.project import Project
from .catalogue import _
from .wording import size

StageWithMemory = Literal["extract", "train"]
_MOMENT_BYTES = 8  # two float32 moments a trained parameter


@dataclass(frozen=True)
class Estimate:
    """Needed device memory in bytes, by part.

    Attributes:
        values: suggested settings, by name; empty where nothing is suggested.
        sentence: what follows, in words.
        trainable: number of trained parameters; 0 where that makes no sense.
    """

    rows: tuple[tuple[str, int], ...] = ()
    needed: int | None = None
    free: int | None = None
    trainable: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""


def model_config(project: Project) -> DualARConfig | None:
    """Return the base model's shape: from its directory, else from its preset; None where both lack it."""
    try:
        return read_config(project.base)
    except FishtuneError:
        pass
    try:
        config = model_preset(project.model.name).config
        return DualARConfig.from_dict(config) if config else None
    except FishtuneError:
        return None


def preset_needs(project: Project, names: list[str]) -> dict[str, Estimate]:
    """Return what training needs with each LoRA preset and otherwise the project's settings."""
    config = model_config(project)
    if config is None:
        return {}
    needs = {}
    for name in names:
        chosen = project.model_copy(deep=True)
        chosen.train.lora_config = name
        try:
            found = training_memory(config, training_plan(chosen.train_settings(), lora_preset(name)))
        except FishtuneError:
            continue
        needs[name] = Estimate(
            rows=tuple((part.value, number) for part, number in found.parts.items() if number),
            needed=found.total,
            trainable=found.parts[Part.OPTIMIZER] // _MOMENT_BYTES,
        )
    return needs


def estimate(stage: StageWithMemory, project: Project, reading: GpuReading | None) -> Estimate | None:
    """Return what a stage needs and what would fit, None where nothing is known."""
    if stage == "extract":
        return None
    name = project.train.lora_config
    need = preset_needs(project, [name]).get(name)
    if need is None or need.needed is None:
        return None
    card = next((gpu for gpu in reading.gpus if gpu.memory is not None), None) if reading else None
    if card is None or card.memory is None:
        return replace(need, sentence=_("There is no GPU here; on one, training would need this much."))
    free = card.memory.free
    fits = need.needed <= free
    sentence = (
        _("Fits: {needed} needed, {free} free.") if fits else _("Does not fit: {needed} needed, {free} free.")
    )
    return replace(need, free=free, sentence=sentence.format(needed=size(need.needed), free=size(free)))
