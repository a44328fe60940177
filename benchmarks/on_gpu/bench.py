"""What all parts of a measurement share: where, on what device, and at what size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    shape: Literal["s1-mini", "tiny"]
    matrix: int
    """Rows and columns of the matrices that tell a card's own speed."""
    frames: int
    """Codes of every clip that is trained on, and of its reference."""
    batch_tokens: int
    tight_tokens: int
    """Tokens of a micro-batch where the memory is made short."""
    steps: int
    """Optimizer steps of a training speed …"""
    warm_up: int
    """… less the first ones, in which kernels are loaded and chosen."""
    recordings: int
    recording_seconds: float
    batch_seconds: tuple[float, ...]
    compared_seconds: float
    """Audio whose codes are compared between devices."""
    prompt: int
    """Tokens before what is generated."""
    generated: int
    """Frames that are generated for a text."""


TRUE_SIZES = Sizes(
    shape="s1-mini",
    matrix=8192,
    frames=215,  # ten seconds
    batch_tokens=8192,
    tight_tokens=4096,
    steps=24,
    warm_up=8,
    recordings=180,
    recording_seconds=10.0,
    batch_seconds=(60.0, 240.0, 600.0),
    compared_seconds=8.0,
    prompt=200,
    generated=150,
)
TINY_SIZES = Sizes(
    shape="tiny",
    matrix=64,
    frames=6,
    batch_tokens=256,
    tight_tokens=512,
    steps=2,
    warm_up=1,
    recordings=3,
    recording_seconds=0.5,
    batch_seconds=(1.0,),
    compared_seconds=0.5,
    prompt=20,
    generated=4,
)
"""Everything runs and nothing is measured: to see on a CPU that the script is whole."""


@dataclass(frozen=True)
class Bench:
    """Where and on what the parts work.

    Attributes:
        work: folder for what they make; `inputs.make_inputs` fills it.
        device: `cuda` or `cpu`.
    """

    work: Path
    device: str
    sizes: Sizes

    @property
    def base(self) -> Path:
        """Checkpoint directory with random weights."""
        return self.work / "base"

    @property
    def protos(self) -> Path:
        """Packed clips."""
        return self.work / "protos"

    @property
    def recordings(self) -> Path:
        """A data set of recordings."""
        return self.work / "recordings"

    def synchronise(self) -> None:
        """Wait for what the device is at."""
        import torch

        if self.device != "cpu":
            torch.cuda.synchronize()

    def peak_bytes(self) -> int | None:
        """Return the most that torch had reserved on the device; None on a CPU."""
        import torch

        return None if self.device == "cpu" else torch.cuda.max_memory_reserved()
