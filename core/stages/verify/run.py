"""Reads a checkpoint directory whole: do its files belong together, is every number one, does it speak?"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from ...codec.checkpoint import load_codec
from ...codec.codec import Codec
from ...codec.config import check_codebooks, codec_config
from ...config.settings import CODEC_FILE, VerifySettings
from ...errors import CheckpointError
from ...events import Reporter
from ...model.checkpoint import load_model
from ...model.directory import ModelDirectory
from ...model.dual_ar import DualAR

_TEXT = "The quick brown fox jumps over the lazy dog."


class VerifyResult(BaseModel):
    """What was read. Reaching it means that everything fits."""

    directory: Path
    files: list[str]
    tensors: int
    parameters: int


def run(settings: VerifySettings, reporter: Reporter) -> VerifyResult:
    """Load model, tokenizer and codec of a directory strictly, look at every weight, and compute a frame.

    Raises:
        CheckpointError: a file is missing or broken, does not fit the others, holds NaN or infinity, or
            computes them.
        StopRequested: asked to stop between two files.
    """
    directory, config_name = settings.directory, settings.config_name
    base = ModelDirectory.open(directory)
    reporter.log(f"reading {base.container.path.name}")
    model = load_model(directory)
    tensors = dict(model.named_parameters())
    parameters = sum(tensor.numel() for tensor in tensors.values())
    count = len(tensors)
    codebooks = model.config.num_codebooks
    _try_model(model, base)
    del model, tensors
    reporter.check_stop()
    reporter.log(f"reading {CODEC_FILE}")
    shape = codec_config(directory / CODEC_FILE, config_name)
    check_codebooks(shape, codebooks, directory)
    codec = load_codec(directory / CODEC_FILE, config_name)
    _try_codec(codec, directory)
    count += sum(1 for _ in codec.parameters())
    parameters += sum(tensor.numel() for tensor in codec.parameters())
    own = (directory / base.family.config_file, *base.container.files)
    read = (*own, *base.family.tokenizer_files(directory), directory / CODEC_FILE)
    return VerifyResult(
        directory=directory,
        files=[file.name for file in read if file.is_file()],
        tensors=count,
        parameters=parameters,
    )


def _try_model(model: DualAR, base: ModelDirectory) -> None:
    """Compute one frame as generation does; weights that are sound may still overflow together."""
    prompt = torch.from_numpy(base.prompts.prompt([], _TEXT))
    if prompt.shape[1] >= model.config.max_seq_len:
        raise CheckpointError(
            "The model of {file} has room for {number} tokens, too few to speak.",
            "{config} should not be edited: download it again.",
            file=base.path,
            number=model.config.max_seq_len,
            config=base.family.config_file,
        )
    with torch.inference_mode():
        hidden = model.slow(prompt[None])[:, -1]
        codes = torch.zeros(1, model.config.num_codebooks, dtype=torch.int64)
        _refuse_overflow(model.token_logits(hidden), base.container.path)
        _refuse_overflow(model.fast_logits(model.fast_input(hidden), codes), base.container.path)


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
