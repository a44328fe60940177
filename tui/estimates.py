"""Memory that training will need with each preset, and what fits the GPU: numbers behind a suggestion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..core.codec.config import codec_config
from ..core.config.presets import lora_preset
from ..core.config.project import Project
from ..core.config.settings import CODEC_FILE
from ..core.errors import FishtuneError
from ..core.hardware.device import available_on, compiles_on, find_device, precision_on
from ..core.hardware.memory.estimate import MemoryEstimate, Part
from ..core.hardware.memory.measured import MeasurementCache
from ..core.hardware.memory.needs import EncodingNeeds, TrainingNeeds
from ..core.hardware.memory.profiles import Profiles
from ..core.hardware.memory.suggest import suggest_extraction, suggest_training
from ..core.hardware.readings import GpuReading
from ..core.hardware.visibility import CudaDevice
from ..core.model.families import base_model
from ..core.model.families.family import Family
from ..core.model.shape import Shape
from .catalogue import _, ngettext
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


def model_of(project: Project) -> tuple[Family, Shape] | None:
    """Return the base model's family and shape, from its directory or its preset; None without both."""
    try:
        return base_model(project.base, project.model.name)
    except FishtuneError:
        return None


def preset_needs(project: Project, name: str, profiles: Profiles | None = None) -> Estimate | None:
    """Return what training needs with a LoRA preset and otherwise the project's settings.

    None where nothing can be said. With a model or preset that no table knows it takes up to a minute.
    """
    model = model_of(project)
    if model is None:
        return None
    family, shape = model
    chosen = project.model_copy(deep=True)
    chosen.train.lora_config = name
    try:
        preset = family.resolved(lora_preset(name))
        needs = TrainingNeeds(shape, chosen.train_settings(), preset, profiles=profiles)
        found = needs.predicted(max(needs.options.batch_tokens, needs.longest))
    except FishtuneError:
        return None
    return _table(found, found.parts[Part.OPTIMIZER] // _MOMENT_BYTES)


def is_known(project: Project, name: str) -> bool:
    """Return whether `preset_needs` has its answer at once."""
    model = model_of(project)
    if model is None:
        return True
    family, shape = model
    try:
        return TrainingNeeds(shape, project.train_settings(), family.resolved(lora_preset(name))).known
    except FishtuneError:
        return True


def estimate(
    stage: StageWithMemory, project: Project, reading: GpuReading | None, profiles: Profiles | None = None
) -> Estimate | None:
    """Return what a stage needs and which batch fits its device, None where nothing can be said.

    With a model, preset or codec that no table knows it takes up to a minute, of which `profiles` can tell.
    """
    name = project.train.device if stage == "train" else project.extract.device
    try:
        device = find_device(reading, name) if reading else None
        if stage == "train":
            return _training(project, device, profiles)
        return _extraction(project, device, profiles)
    except FishtuneError:
        return None


def _training(project: Project, device: CudaDevice | None, profiles: Profiles | None) -> Estimate | None:
    name = project.train.lora_config
    need = preset_needs(project, name, profiles)
    model = model_of(project)
    if need is None or model is None:
        return None
    family, shape = model
    available = available_on(device) if device else None
    if device is None or available is None:
        return replace(need, sentence=_("No GPU is used; on one, training would need this much."))
    needs = TrainingNeeds(
        shape,
        project.train_settings(),
        family.resolved(lora_preset(name)),
        device.gpu.name,
        precision=precision_on(device),
        cache=MeasurementCache(),
        profiles=profiles,
        compiled=compiles_on(device),
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


def _extraction(project: Project, device: CudaDevice | None, profiles: Profiles | None) -> Estimate | None:
    codec = codec_config(project.base / CODEC_FILE, project.extract.config_name)
    gpu = device.gpu.name if device else ""
    needs = EncodingNeeds(codec, gpu, cache=MeasurementCache(), profiles=profiles)
    available = available_on(device) if device else None
    longest, typical = _clip_seconds(project)
    if available is None:
        chosen = project.extract_settings()
        bound = chosen.batch_seconds or chosen.batch_size * longest
        clips = max(1, min(chosen.batch_size, int(bound // longest)))
        return replace(
            _table(needs.at(clips, longest), 0),
            sentence=_("No GPU is used; on one, such batches would need this much."),
        )
    found = suggest_extraction(needs, available, longest, typical=typical)
    table = replace(_table(found.need, 0), free=available.free)
    if not found.fits:
        return _nothing_fits(table, found.remedies)
    sentence = _(
        "Fits {free} free: up to {clips} and {seconds} s of audio per batch, the longest clip being "
        "{longest} s; {needed}."
    ).format(
        free=size(available.free),
        clips=ngettext("{number} clip", "{number} clips", found.batch_size).format(number=found.batch_size),
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
