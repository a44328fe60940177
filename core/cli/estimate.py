"""`fishtune estimate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..codec.config import LONGEST_SECONDS, codec_config
from ..config.presets import lora_preset, preset_names
from ..config.project import Project
from ..config.settings import CODEC_FILE, ExtractOptions, ModelOptions, TrainOptions, TrainSettings
from ..config.strict import parse_flags
from ..dataset.clips import SHARD_EXTENSION
from ..errors import FishtuneError
from ..hardware.device import available_on, compiles_on, find_device, precision_on
from ..hardware.memory.accounting_process import Progress
from ..hardware.memory.estimate import MemoryEstimate, Part
from ..hardware.memory.measured import MeasurementCache
from ..hardware.memory.needs import EncodingNeeds, TrainingNeeds
from ..hardware.memory.profiles import Profiles
from ..hardware.memory.suggest import (
    Available,
    ExtractionSuggestion,
    TrainingSuggestion,
    suggest_extraction,
    suggest_training,
)
from ..hardware.nvml import read_gpus
from ..hardware.visibility import CudaDevice
from ..messages import Message
from ..model.families import base_model, family_of
from ..model.families.family import Family
from ..model.shape import Shape
from ..pipeline.plan import TrainingPlan, measured_before
from ..units import format_bytes, format_count, parse_bytes
from .console import err, out, print_json
from .options import Given, Json, takes
from .running import find_project

_EXTRACTION = "Extraction"


class EstimatedStage(StrEnum):
    """Stages whose memory matters."""

    TRAIN = "train"
    EXTRACT = "extract"


@takes(
    TrainOptions,
    into="training",
    only=[
        *("lora_config", "batch_tokens", "accumulation", "max_length", "precision", "base_precision"),
        *("checkpointing", "epochs", "max_steps", "max_minutes", "checkpoint_every"),
    ],
    panel="Training",
)
@takes(ExtractOptions, into="extraction", only=["config_name", "batch_size"], panel=_EXTRACTION)
def estimate(
    training: Given,
    extraction: Given,
    stage: Annotated[
        EstimatedStage, typer.Option(metavar="train|extract", help="Which stage.")
    ] = EstimatedStage.TRAIN,
    gpu_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Ask about a card that is not here, for example 24GiB.",
            show_default="this machine's GPU",
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cuda or cuda:N.")] = "auto",
    base: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Checkpoint directory, or before the download a model preset such as s2-pro.",
            show_default="the project's",
        ),
    ] = None,
    clip_seconds: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0.1,
            max=LONGEST_SECONDS,
            rich_help_panel=_EXTRACTION,
            help="Of the longest clip.",
        ),
    ] = 20.0,
    json: Json = False,
) -> None:
    """Tell what training or extraction needs of the GPU's memory, which batch fits, and how long it takes.

    Sizes of tensors are torch's own and exact to a few percent; for a model or preset that no table knows
    they are worked out first, once, which takes up to a minute. The CUDA context and fragmentation are
    allowed for; peaks that were measured on this GPU correct them. Training is counted as if every column
    were learnt, which bounds it.

    In a project with packed data, the steps and checkpoints of its training are told too, and how long it
    takes where that preset and model were trained on this device before.

    Example: fishtune estimate --lora-config r_8_alpha_16 --gpu-memory 24GiB

    Example: fishtune estimate --stage extract --batch-size 32 --clip-seconds 15
    """
    found = find_device(read_gpus(), device) if gpu_memory is None else None
    if gpu_memory is not None:
        available: Available | None = Available.card(parse_bytes(gpu_memory))
    else:
        available = available_on(found) if found else None
    project = find_project()
    if base is not None and base.name not in preset_names("models"):
        family_of(base)  # a mistyped path would be answered with another model's numbers
    folder = base or (project.base if project else ModelOptions().directory)
    answer: _Answer
    with _progress() as progress:
        profiles = Profiles(progress)
        if stage is EstimatedStage.EXTRACT:
            options = parse_flags(ExtractOptions, **extraction)
            answer = _extraction(folder, options, clip_seconds, available, profiles)
        else:
            # Wrong ones are told as flags, not as keys of the project file.
            parse_flags(TrainOptions, **training)
            family, shape = base_model(folder, _named(base, project))
            chosen = _options(project, training)
            answer = _training(chosen, family, shape, available, found, profiles)
            if project is not None and base is None and gpu_memory is None:
                answer.plan = _plan(chosen, found, answer)
    if json:
        print_json(answer.content(stage, available))
    else:
        answer.show(available)


def _named(base: Path | None, project: Project | None) -> str:
    """Return the preset that counts where the model is not there yet."""
    if base is not None and base.name in preset_names("models"):
        return base.name
    return project.model.name if project else ModelOptions().name


@contextmanager
def _progress() -> Iterator[Progress]:
    """Yield what shows how far the accounting of a model is; nothing is shown where none is needed."""
    status = err.status("")

    def show(done: int, total: int) -> None:
        counted = f": batch {done} of {total}" if total else ""
        status.update(f"Measuring how much memory this model needs, once{counted}")
        status.start()

    try:
        yield show
    finally:
        status.stop()


class _Answer:
    """What is needed as asked, and what is suggested.

    Args:
        words: what was asked, in one line.
        suggestion: None without a GPU.
    """

    def __init__(
        self,
        words: str,
        need: MemoryEstimate,
        measured: bool,
        suggestion: TrainingSuggestion | ExtractionSuggestion | None,
        flags: str,
    ) -> None:
        self._words, self._need, self._measured = words, need, measured
        self._suggestion, self._flags = suggestion, flags
        self.plan: TrainingPlan | Message | None = None
        """What the training comes to, or why that is not known; None where nobody asked."""

    @property
    def trained(self) -> int:
        """Number of trained weights: AdamW keeps two float32 moments of each."""
        return self._need.parts[Part.OPTIMIZER] // 8

    def content(self, stage: str, available: Available | None) -> dict[str, Any]:
        """Return it for a script; sizes in bytes."""
        device = available.model_dump(mode="json") | {"usable": available.usable} if available else None
        return {
            "stage": stage,
            "asked": self._words,
            "needed": self._need.total,
            "needed_without_fragmentation": self._need.least,
            "parts": {part.value: size for part, size in self._need.parts.items()},
            "corrected_by_measurement": self._measured,
            "available": device,
            "fits": None if available is None else self._need.total <= available.usable,
            "suggestion": self._suggestion.model_dump(mode="json") if self._suggestion else None,
            "plan": self.plan.model_dump(mode="json") if isinstance(self.plan, TrainingPlan) else None,
        }

    def show(self, available: Available | None) -> None:
        """Write it for a user."""
        self._show_memory(available)
        if isinstance(self.plan, TrainingPlan):
            out.print(f"Plan: {self.plan.sentence}. {self.plan.clips}.")
            out.print(self.plan.source)
        elif self.plan is not None:
            out.print(f"How many steps it takes is not known: {self.plan}")

    def _show_memory(self, available: Available | None) -> None:
        out.print(self._words)
        table = Table(box=None, pad_edge=False)
        table.add_column("part")
        table.add_column("memory", justify="right")
        for part, size in self._need.parts.items():
            if size:
                table.add_row(part.value, format_bytes(size))
        out.print(table)
        source = "corrected by a peak measured here" if self._measured else "as torch allocates it"
        out.print(f"needed  {format_bytes(self._need.least)} to {format_bytes(self._need.total)} ({source})")
        if available is None:
            out.print("There is no GPU here; ask about a card with --gpu-memory 24GiB.")
            return
        name = available.gpu or "an unused card"
        out.print(f"free    {format_bytes(available.free)} of {format_bytes(available.total)} on {name}")
        for process in available.processes:
            held = "?" if process.memory is None else format_bytes(process.memory)
            out.print(f"        {held} are held by {process.name or 'a process'} ({process.pid})")
        out.print("It fits." if self._need.total <= available.usable else "It does not fit.")
        if self._suggestion is None:
            return
        if self._suggestion.fits:
            out.print(f"Suggested: {self._flags} (needs {format_bytes(self._suggestion.need.total)})")
        else:
            remedies = "; or ".join(self._suggestion.remedies) or "nothing that is known here"
            out.print(f"No batch fits. What would help: {remedies}.")


def _options(project: Project | None, flags: dict[str, Any]) -> TrainSettings:
    """Return flags over the project file's values over the preset's."""
    folder, tables = (project.folder, project.model_dump(exclude_unset=True)) if project else (Path.cwd(), {})
    tables["train"] = tables.get("train", {}) | flags
    name = tables.pop("name", "estimate")
    return Project.create(folder, name, **tables).train_settings()


def _plan(
    settings: TrainSettings, device: CudaDevice | None, answer: _Answer
) -> TrainingPlan | Message | None:
    """Return what the training of a project comes to; None where nothing is packed yet."""
    if not list(settings.protos.glob(f"*{SHARD_EXTENSION}")):
        return None
    from ..stages.train.plan import plan_run

    on = "" if device is None or settings.device == "cpu" else device.gpu.name
    try:
        return TrainingPlan.of(
            plan_run(settings),
            settings,
            device=on,
            measured=measured_before(settings, on),
            trained=answer.trained,
            method=lora_preset(settings.lora_config).method,
        )
    except FishtuneError as error:
        return error.message


def _training(
    options: TrainOptions,
    family: Family,
    shape: Shape,
    available: Available | None,
    device: CudaDevice | None,
    profiles: Profiles,
) -> _Answer:
    needs = TrainingNeeds(
        shape,
        options,
        family.resolved(lora_preset(options.lora_config)),
        available.gpu if available else "",
        precision=precision_on(device),
        cache=MeasurementCache(),
        profiles=profiles,
        compiled=compiles_on(device),
    )
    suggestion = suggest_training(needs, available) if available else None
    flags = ""
    if suggestion:
        flags = f"--batch-tokens {suggestion.batch_tokens} --accumulation {suggestion.accumulation}"
        if suggestion.without_checkpointing:
            flags += " --checkpointing none"
    tokens = max(options.batch_tokens, needs.longest)
    words = (
        f"Training, {options.lora_config}: micro-batches of {tokens} tokens × {options.accumulation}, "
        f"samples of up to {needs.longest}, {needs.setup.precision}, "
        f"{f'base in {options.base_precision}, ' if options.base_precision else ''}"
        f"checkpointing {options.checkpointing}"
    )
    return _Answer(words, needs.at(tokens), needs.factor != 1.0, suggestion, flags)


def _extraction(
    folder: Path, options: ExtractOptions, seconds: float, available: Available | None, profiles: Profiles
) -> _Answer:
    codec, clips = codec_config(folder / CODEC_FILE, options.config_name), options.batch_size
    gpu = available.gpu if available else ""
    needs = EncodingNeeds(codec, gpu, cache=MeasurementCache(), profiles=profiles)
    suggestion = suggest_extraction(needs, available, seconds) if available else None
    flags = ""
    if suggestion:
        flags = f"--batch-size {suggestion.batch_size} --batch-seconds {suggestion.batch_seconds:g}"
    words = f"Extraction: {format_count(clips, 'clip')} of {seconds:g} s"
    return _Answer(words, needs.at(clips, seconds), needs.factor != 1.0, suggestion, flags)
