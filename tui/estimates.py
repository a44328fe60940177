"""Memory that training will need with each preset, and what fits the GPU: numbers behind a suggestion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..core.codec.config import codec_config
from ..core.config.presets import lora_preset, model_preset
from ..core.config.project import Project
from ..core.errors import FishtuneError
from ..core.hardware.device import available_on, find_device, precision_on
from ..core.hardware.memory.encoding import EncodingPlan
from ..core.hardware.memory.estimate import MemoryEstimate, extraction_memory, training_memory, training_plan
from ..core.hardware.memory.ledger import Part
from ..core.hardware.memory.measured import MeasurementCache
from ..core.hardware.memory.suggest import TrainingNeeds, suggest_extraction, suggest_training
from ..core.hardware.readings import GpuReading
from ..core.hardware.visibility import CudaDevice
from ..core.model.config import DualARConfig, read_config
from .catalogue import _
from .catalogue import sentence as tell
from .report import newest_report
from .wording import count, size

StageWithMemory = Literal["extract", "train"]
LONGEST_CLIP = 30.0
"""Seconds that an extraction batch is laid out for until the recordings are checked."""
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
        needs[name] = _table(found, found.parts[Part.OPTIMIZER] // _MOMENT_BYTES)
    return needs


def estimate(stage: StageWithMemory, project: Project, reading: GpuReading | None) -> Estimate | None:
    """Return what a stage needs and which batch fits its device, None where nothing can be said."""
    name = project.train.device if stage == "train" else project.extract.device
    try:
        device = find_device(reading, name) if reading else None
        return _training(project, device) if stage == "train" else _extraction(project, device)
    except FishtuneError:
        return None


def _training(project: Project, device: CudaDevice | None) -> Estimate | None:
    name = project.train.lora_config
    need = preset_needs(project, [name]).get(name)
    config = model_config(project)
    if need is None or config is None:
        return None
    available = available_on(device) if device else None
    if device is None or available is None:
        return replace(need, sentence=_("No GPU is used; on one, training would need this much."))
    needs = TrainingNeeds(
        config,
        project.train_settings(),
        lora_preset(name),
        device.gpu.name,
        precision=precision_on(device),
        cache=MeasurementCache(),
    )
    found = suggest_training(needs, available)
    if not found.fits:
        return _nothing_fits(replace(need, free=available.free), found.remedies)
    sentence = _(
        "Fits {free} free: {tokens} tokens per micro-batch, {accumulation} per step, {needed}."
    ).format(
        free=size(available.free),
        tokens=count(found.batch_tokens),
        accumulation=found.accumulation,
        needed=size(found.need.total),
    )
    if found.measured:
        sentence += " " + _("Corrected by what was measured here.")
    if found.without_checkpointing:
        sentence += " " + _("The blocks need not be recomputed, which is faster.")
    return replace(
        _table(found.need, need.trainable),
        free=available.free,
        sentence=sentence,
        values={"batch_tokens": found.batch_tokens, "accumulation": found.accumulation},
    )


def _extraction(project: Project, device: CudaDevice | None) -> Estimate | None:
    config = codec_config(project.base / "codec.pth", project.extract.config_name)
    available = available_on(device) if device else None
    longest, typical = _clip_seconds(project)
    if available is None:
        chosen = project.extract_settings()
        bound = chosen.batch_seconds or chosen.batch_size * longest
        clips = max(1, min(chosen.batch_size, int(bound // longest)))
        return replace(
            _table(extraction_memory(config, EncodingPlan.of(config, clips, longest)), 0),
            sentence=_("No GPU is used; on one, such batches would need this much."),
        )
    found = suggest_extraction(config, available, longest, typical=typical, cache=MeasurementCache())
    table = replace(_table(found.need, 0), free=available.free)
    if not found.fits:
        return _nothing_fits(table, found.remedies)
    sentence = _(
        "Fits {free} free: up to {clips} clips and {seconds} s of audio per batch, the longest clip being "
        "{longest} s; {needed}."
    ).format(
        free=size(available.free),
        clips=found.batch_size,
        seconds=count(found.batch_seconds),
        longest=count(longest),
        needed=size(found.need.total),
    )
    values = {"batch_size": found.batch_size, "batch_seconds": found.batch_seconds}
    return replace(table, sentence=sentence, values=values)


def _clip_seconds(project: Project) -> tuple[float, float | None]:
    """Return the lengths of the longest and, if known, of a typical clip: the newest check knows them."""
    _job, report = newest_report(project)
    speakers = (report or {}).get("speakers", [])
    longest = max((speaker.get("longest_seconds", 0.0) for speaker in speakers), default=0.0)
    typical = max((speaker["median_seconds"] for speaker in speakers), default=0.0)
    return (longest, typical or None) if longest else (LONGEST_CLIP, None)


def _table(need: MemoryEstimate, trainable: int) -> Estimate:
    rows = tuple((part.value, number) for part, number in need.parts.items() if number)
    return Estimate(rows=rows, needed=need.total, trainable=trainable)


def _nothing_fits(table: Estimate, remedies: Sequence[str]) -> Estimate:
    sentence = _("Does not fit: {needed} needed, {free} free.").format(
        needed=size(table.needed), free=size(table.free)
    )
    if remedies:
        sentence += " " + _("What would help: {remedies}.").format(remedies="; ".join(map(tell, remedies)))
    return replace(table, sentence=sentence)
