"""Reads a checkpoint directory whole: do its files belong together, is every number one, does it speak?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from ...codec.checkpoint import WEIGHTS_FILE as CODEC_FILE
from ...codec.checkpoint import load_codec
from ...codec.codec import Codec
from ...codec.config import check_codebooks, codec_config
from ...errors import CheckpointError
from ...model.checkpoint import WEIGHTS_FILE, load_model
from ...model.dual_ar import DualAR
from ...text.prompts import inference_prompt
from ...text.tokenizer import IM_END, Tokenizer

_TEXT = "The quick brown fox jumps over the lazy dog."


class VerifyResult(BaseModel):
    """What was read. Reaching it means that everything fits."""

    directory: Path
    files: list[str]
    tensors: int
    parameters: int


def verify(
    directory: Path, config_name: str, progress: Callable[[str], None] = lambda _name: None
) -> VerifyResult:
    """Load model, tokenizer and codec of `directory` strictly, look at every weight, and compute a frame.

    Args:
        config_name: codec preset where the directory has no `codec_config.json`.
        progress: told each file before it is read.

    Raises:
        CheckpointError: a file is missing or broken, does not fit the others, holds NaN or infinity, or
            computes them.
    """
    progress(WEIGHTS_FILE)
    model = load_model(directory)
    tensors = dict(model.named_parameters())
    parameters = sum(tensor.numel() for tensor in tensors.values())
    count = len(tensors)
    codebooks = model.config.num_codebooks
    _try_model(model, directory)
    del model, tensors
    progress(CODEC_FILE)
    shape = codec_config(directory / CODEC_FILE, config_name)
    check_codebooks(shape, codebooks, directory)
    codec = load_codec(directory / CODEC_FILE, config_name)
    _try_codec(codec, directory)
    count += sum(1 for _ in codec.parameters())
    parameters += sum(tensor.numel() for tensor in codec.parameters())
    read = ("config.json", "model.pth", "tokenizer.tiktoken", "special_tokens.json", CODEC_FILE)
    return VerifyResult(
        directory=directory,
        files=[name for name in read if (directory / name).is_file()],
        tensors=count,
        parameters=parameters,
    )


def _try_model(model: DualAR, directory: Path) -> None:
    """Compute one frame as generation does; weights that are sound may still overflow together."""
    tokenizer = Tokenizer.from_directory(directory)
    tokenizer.token_id(IM_END)
    prompt = torch.from_numpy(inference_prompt(tokenizer, [], _TEXT, model.config.num_codebooks))
    if prompt.shape[1] >= model.config.max_seq_len:
        raise CheckpointError(
            "The model of {directory} has room for {limit} tokens, too few to speak.",
            "config.json should not be edited: download it again.",
            directory=directory,
            limit=model.config.max_seq_len,
        )
    with torch.inference_mode():
        hidden = model.slow(prompt[None])[:, -1]
        codes = torch.zeros(1, model.config.num_codebooks, dtype=torch.int64)
        _refuse_overflow(model.token_logits(hidden), directory / WEIGHTS_FILE)
        _refuse_overflow(model.fast_logits(model.fast_input(hidden), codes), directory / WEIGHTS_FILE)


def _try_codec(codec: Codec, directory: Path) -> None:
    """Decode and encode two frames."""
    codes = torch.zeros(1, len(codec.config.codebook_sizes), 2, dtype=torch.int64)
    audio = codec.decode(codes)
    _refuse_overflow(audio, directory / CODEC_FILE)
    codec.encode(audio)


def _refuse_overflow(values: Tensor, source: Path) -> None:
    if not values.isfinite().all():
        raise CheckpointError(
            "What {source} computes is infinite or not a number, though its weights are numbers.",
            "The file is damaged, or training diverged: download or merge it again.",
            source=source,
        )
