"""A recording as the voice that a model is given: its codes and what is said in it."""

from __future__ import annotations

from pathlib import Path

import torch

from ..audio.mixing import Mixing, warn_of_channels
from ..audio.recordings import read_info, read_mono
from ..events import Reporter
from ..text.prompts import Turn
from .checkpoint import load_encoder
from .codec import check_length
from .config import codec_config


def encode_reference(
    file: Path, text: str, codec_file: Path, config_name: str, device: torch.device, reporter: Reporter
) -> Turn:
    """Return a recording as a turn of a prompt, with a warning where its channels are at odds.

    Args:
        text: what is said in it; see `text.transcripts.transcript_beside`.
        codec_file: weights of the codec.

    Raises:
        DataError: the recording cannot be read, or is too long or too short.
        CheckpointError: the codec cannot be loaded.
    """
    shape = codec_config(codec_file, config_name)
    info = read_info(file)
    check_length(-(-info.frames * shape.sample_rate // info.sample_rate), shape, str(file))
    samples, mixing = read_mono(file, shape.sample_rate)
    warn_of_channels(
        reporter,
        [str(file)] if mixing is Mixing.ONE_SIDED else [],
        [str(file)] if mixing is Mixing.OPPOSITE_PHASE else [],
    )
    check_length(len(samples), shape, str(file))
    encoder = load_encoder(codec_file, config_name, device)
    codes = encoder.encode(torch.from_numpy(samples)[None, None].to(device))
    return Turn(text, codes[0].cpu().numpy())
