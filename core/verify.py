"""Reads a checkpoint directory whole: do its files belong together, and is every number one?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from .codec.checkpoint import load_codec
from .errors import CheckpointError
from .model.checkpoint import load_model

CODEC_FILE = "codec.pth"


class VerifyResult(BaseModel):
    """What was read. Reaching it means that everything fits."""

    directory: Path
    files: list[str]
    tensors: int
    parameters: int


def verify(
    directory: Path, config_name: str, progress: Callable[[str], None] = lambda _name: None
) -> VerifyResult:
    """Load model, tokenizer and codec of `directory` strictly and look at every weight.

    Args:
        config_name: codec preset where the directory has no `codec_config.json`.
        progress: told each file before it is read.

    Raises:
        CheckpointError: a file is missing or broken, does not fit the others, or holds NaN or infinity.
    """
    progress("model.pth")
    model = load_model(directory)
    _refuse_non_finite(model.named_parameters(), directory / "model.pth")
    tensors = dict(model.named_parameters())
    parameters = sum(tensor.numel() for tensor in tensors.values())
    count = len(tensors)
    del model, tensors
    progress(CODEC_FILE)
    codec = load_codec(directory / CODEC_FILE, config_name)
    _refuse_non_finite(codec.named_parameters(), directory / CODEC_FILE)
    count += sum(1 for _ in codec.parameters())
    parameters += sum(tensor.numel() for tensor in codec.parameters())
    read = ("config.json", "model.pth", "tokenizer.tiktoken", "special_tokens.json", CODEC_FILE)
    return VerifyResult(
        directory=directory,
        files=[name for name in read if (directory / name).is_file()],
        tensors=count,
        parameters=parameters,
    )


def _refuse_non_finite(named: Iterable[tuple[str, Tensor]], source: Path) -> None:
    for name, tensor in named:
        # The sum is infinite or NaN if any number is, and needs no second copy of the weight.
        if not torch.isfinite(tensor.detach().sum(dtype=torch.float64)):
            raise CheckpointError(
                f"{source}: {name} holds numbers that are infinite or not a number.",
                "The file is damaged or was trained to pieces: download or merge it again.",
            )
