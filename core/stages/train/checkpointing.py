"""`--checkpointing auto`: the fastest way that fits the free memory."""

from __future__ import annotations

import typing

import torch

from ...config.presets import LoraPreset
from ...config.settings import Checkpointing, TrainSettings
from ...events import Progress, Reporter
from ...hardware.main_memory import main_memory
from ...hardware.memory.needs import TrainingNeeds
from ...hardware.memory.profiles import Profiles
from ...hardware.memory.suggest import Available
from ...messages import Message
from ...model.shape import Shape
from ...units import format_bytes
from .device import PRECISION_NAMES
from .sampler import MicroBatch

NOTHING_DONE = Message("Nothing new was trained.")


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device at present; for the CPU those of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    _, free = main_memory()
    return free


def told_profiles(reporter: Reporter) -> Profiles:
    """Return profiles that tell how far they are where they must be made, and end if asked to stop."""

    def tell(done: int, total: int) -> None:
        task = Message("measuring memory needs")
        reporter.emit(Progress(task=task, done=done, total=total or None, unit="batches"))
        reporter.check_stop(NOTHING_DONE)

    return Profiles(tell)


def choose_checkpointing(needs: TrainingNeeds, tokens: int, free: int) -> Checkpointing:
    """Return the fastest way with which micro-batches of `tokens` columns fit `free` bytes.

    Where none fits, it is the one that needs least.
    """
    modes: tuple[Checkpointing, ...] = typing.get_args(Checkpointing)
    fastest, *others = modes
    usable = Available.card(free).usable

    def fits(mode: Checkpointing) -> bool:
        # The context exists already, or never will.
        return needs.changed(checkpointing=mode).at(tokens).reserved <= usable

    if fits(fastest):
        return fastest
    # What must be accounted first takes one process for all of them.
    needs.changed(checkpointing=others[0]).prepare(needs.changed(checkpointing=mode) for mode in others[1:])
    return next(filter(fits, others), others[-1])


def fitting_checkpointing(
    config: Shape,
    settings: TrainSettings,
    preset: LoraPreset,
    precision: torch.dtype,
    largest: MicroBatch,
    device: torch.device,
    reporter: Reporter,
    *,
    compiled: bool,
) -> Checkpointing:
    """Return what the settings name, or where that is `auto` what fits the largest micro-batch.

    Args:
        compiled: whether torch's compiler runs the blocks.
    """
    if settings.checkpointing != "auto":
        return settings.checkpointing
    free = free_memory(device)
    profiles = told_profiles(reporter)
    needs = training_needs(
        config, settings, preset, precision, largest.columns, profiles=profiles, compiled=compiled
    )
    chosen = choose_checkpointing(needs, largest.tokens, free)
    reporter.log(f"Checkpointing is {chosen}: the fastest that fits {format_bytes(free)} free.")
    return chosen


def training_needs(
    config: Shape,
    settings: TrainSettings,
    preset: LoraPreset,
    precision: torch.dtype,
    longest: int,
    gpu: str = "",
    profiles: Profiles | None = None,
    *,
    compiled: bool,
) -> TrainingNeeds:
    """Return what one process of a run needs before it joins others.

    Args:
        longest: columns of the longest sample.
        gpu: name of the device.
        profiles: tells how far accounting is where nothing is known of this model.
        compiled: whether torch's compiler runs the blocks.
    """
    return TrainingNeeds(
        config,
        settings.model_copy(update={"devices": 1, "num_nodes": 1}),
        preset,
        gpu,
        precision=PRECISION_NAMES[precision],
        longest=longest,
        profiles=profiles,
        compiled=compiled,
    )
