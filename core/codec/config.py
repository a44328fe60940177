"""Shape of a codec: the keys of `codec_config.json` and of `presets/codec/NAME.toml`.

The weights' file carries no configuration. A checkpoint directory may hold a `codec_config.json` beside
`codec.pth`; otherwise the shape is the preset that the user names (formats.md section 4). No torch here.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from ..config.presets import read_preset
from ..config.settings import CODEC_FILE
from ..config.strict import Table, parse
from ..dataset.origins import content_digest
from ..errors import CheckpointError, DataError, MalformedFileError
from ..messages import Message, joined
from ..tables import read_json

CONFIG_FILE = "codec_config.json"
_NAME_A_FILE = Message("Name the file of weights in it, such as {name}.", name=CODEC_FILE)
CODEC_RATE = 44_100
"""Hz; of the published codec, as all that follows."""
FRAME_LENGTH = 2_048
"""Samples of one frame of codes."""
FRAME_RATE = CODEC_RATE / FRAME_LENGTH
"""Frames per second; a frame is one token of a sequence."""
MAX_FRAMES = 4096
"""The longest clip, in frames: what the published model's rotary tables cover."""
LONGEST_SECONDS = math.floor(MAX_FRAMES / FRAME_RATE)
"""Of the longest clip; what is said to a user."""


# Bounds far above any real codec, below what would exhaust memory or time.
_Layers = Annotated[int, Field(ge=0, le=256)]
_Count = Annotated[int, Field(gt=0, le=256)]
_Factor = Annotated[int, Field(gt=0, le=1024)]
_Width = Annotated[int, Field(gt=0, le=1 << 16)]
_Window = Annotated[int, Field(gt=0, le=8192)]
_MOST_FACTORS = 12
_LONGEST_FRAME = 1 << 15
_LARGEST_FILE = 1 << 16
"""Bytes of `codec_config.json`; the published one has 800."""


class _Shape(Table):
    model_config = ConfigDict(frozen=True, strict=True)


class QuantizerConfig(_Shape):
    """Residual vector quantizer with one semantic codebook in front."""

    input_dim: _Width
    """Channels of the latent; the encoder's last width."""
    n_codebooks: _Count
    """Residual codebooks, the semantic one not counted."""
    codebook_size: _Width
    """Entries of each residual codebook."""
    semantic_codebook_size: _Width
    """Entries of the semantic codebook."""
    codebook_dim: _Width
    """Channels in which the nearest entry is sought."""
    downsample_factor: list[_Factor] = Field(max_length=_MOST_FACTORS)
    """Strides between the encoder's positions and the frames."""


class CodecTransformerConfig(_Shape):
    """A causal transformer over channels-first sequences that sees a limited past."""

    n_layer: _Count
    n_head: _Count
    dim: _Width
    intermediate_size: int = Field(gt=0, le=1 << 19)
    """Hidden width of the feed-forward."""
    head_dim: int = Field(default=64, ge=2, le=4096, multiple_of=2)
    window_size: _Window
    """Positions that one position sees, itself included."""
    rope_base: float = Field(default=10_000, gt=1, le=1e12)
    norm_eps: float = Field(default=1e-5, gt=0, le=1)


class CodecConfig(_Shape):
    """Shape of a whole codec. Rates and factors are strides; their product is one frame."""

    sample_rate: int = Field(ge=1000, le=1 << 20)
    """Hz."""
    encoder_dim: _Width
    """Channels after the first convolution; they double with every rate."""
    encoder_rates: list[_Factor] = Field(min_length=1, max_length=_MOST_FACTORS)
    encoder_transformer_layers: list[_Layers] = Field(max_length=_MOST_FACTORS)
    """Transformer layers after each rate."""
    encoder_transformer_window: _Window
    """Positions that one position of the encoder's transformers sees."""
    encoder_transformer_head_dim: int = Field(ge=2, le=4096, multiple_of=2)
    decoder_dim: _Width
    """Channels before the first rate of the decoder; they halve with every rate."""
    decoder_rates: list[_Factor] = Field(min_length=1, max_length=_MOST_FACTORS)
    decoder_transformer_layers: list[_Layers] = Field(default=[], max_length=_MOST_FACTORS)
    """Only zeros: no published codec has transformers there, and none is specified."""
    quantizer: QuantizerConfig
    quantizer_transformer: CodecTransformerConfig
    """Of the two transformers around the quantizer."""

    @model_validator(mode="after")
    def _parts_fit(self) -> CodecConfig:
        rates, layers = self.encoder_rates, self.encoder_transformer_layers
        widths = [self.encoder_dim * 2 ** (number + 1) for number in range(len(rates))]
        head, latent, halvings = self.encoder_transformer_head_dim, widths[-1], 2 ** len(self.decoder_rates)
        faults = []
        if len(layers) != len(rates):
            faults.append(
                Message(
                    "encoder_transformer_layers needs {number} numbers, one for each encoder rate",
                    number=len(rates),
                )
            )
        if any(width % head for width, count in zip(widths, layers, strict=False) if count):
            faults.append(
                Message("the encoder's transformers need widths divisible by {divisor}", divisor=head)
            )
        if any(self.decoder_transformer_layers):
            faults.append(Message("decoder_transformer_layers must be zeros"))
        if math.prod(self.decoder_rates) != math.prod(rates):
            faults.append(Message("decoder_rates must multiply to the same as encoder_rates"))
        if self.decoder_dim % halvings:
            faults.append(Message("decoder_dim must be divisible by {divisor}", divisor=halvings))
        if self.frame_length > _LONGEST_FRAME:
            faults.append(
                Message(
                    "rates and factors must multiply to {limit} samples per frame at most",
                    limit=_LONGEST_FRAME,
                )
            )
        if latent > 1 << 16:
            faults.append(
                Message("the encoder's last width is {width}, more than any codec has", width=latent)
            )
        if self.quantizer.input_dim != latent:
            faults.append(
                Message("quantizer.input_dim must be the encoder's last width, {width}", width=latent)
            )
        if self.quantizer_transformer.dim != self.quantizer.input_dim:
            faults.append(Message("quantizer_transformer.dim must be quantizer.input_dim"))
        if faults:
            raise ValueError(joined(faults, "; "))
        return self

    @property
    def hop_length(self) -> int:
        """Samples between two positions of the encoder's output."""
        return math.prod(self.encoder_rates)

    @property
    def frame_length(self) -> int:
        """Samples of one frame of codes."""
        return self.hop_length * math.prod(self.quantizer.downsample_factor)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_length

    @property
    def codebook_sizes(self) -> list[int]:
        """Entries of each codebook, the semantic one first."""
        residual = self.quantizer
        return [residual.semantic_codebook_size] + [residual.codebook_size] * residual.n_codebooks

    @property
    def max_seconds(self) -> float:
        """Length of the longest clip that can be encoded."""
        return MAX_FRAMES / self.frame_rate

    def frames(self, samples: int) -> int:
        """Return how many frames `samples` samples make; the last may be padded."""
        return -(-samples // self.frame_length)


def codec_config(weights: Path, preset: str) -> CodecConfig:
    """Return the shape of the codec in the file `weights` (`codec.pth`).

    Args:
        preset: of `presets/codec`, where no `codec_config.json` lies beside the file.

    Raises:
        CheckpointError: `codec_config.json` cannot be read; or `weights` is a folder.
        SettingsError: it, or the preset, has wrong keys or values.
        UsageError: there is no such preset.
    """
    if weights.is_dir():
        inside = weights / CODEC_FILE
        meant = (
            Message("Give the codec's file in it: {file}", file=inside) if inside.is_file() else _NAME_A_FILE
        )
        raise CheckpointError("{path} is a folder, and the codec is a file.", meant, path=weights)
    beside = weights.parent / CONFIG_FILE
    if not os.path.lexists(beside):
        return parse(CodecConfig, read_preset("codec", preset), config_origin(weights, preset))
    try:
        content = read_json(beside, _LARGEST_FILE)
    except MalformedFileError as error:
        raise CheckpointError(error.message, "Copy it again from where the checkpoint came.") from error
    return parse(CodecConfig, content, str(beside))


def codec_identity(weights: Path, config: CodecConfig) -> str:
    """Return what tells codecs apart: a digest of shape and weights, or nothing without weights.

    Raises:
        StorageError: the system refused to read the weights.
    """
    try:
        content = content_digest(weights)
    except DataError:
        return ""
    return hashlib.blake2b(f"{config!r} {content}".encode(), digest_size=8).hexdigest()


def check_codebooks(config: CodecConfig, num_codebooks: int, directory: Path) -> None:
    """Refuse a codec that speaks other codes than the model of its directory.

    Raises:
        CheckpointError: they have not the same number of codebooks.
    """
    if len(config.codebook_sizes) != num_codebooks:
        raise CheckpointError(
            "Model and codec of {directory} do not fit: the model has {number} codebooks, the codec {other}.",
            "Both must come from the same checkpoint: download them again.",
            directory=directory,
            number=num_codebooks,
            other=len(config.codebook_sizes),
        )


def config_origin(weights: Path, preset: str) -> str:
    """Return where `codec_config` takes the shape from, in words."""
    beside = weights.parent / CONFIG_FILE
    return str(beside) if os.path.lexists(beside) else Message("the codec preset {preset}", preset=preset)


def residual_codebook_size(preset: str) -> int:
    """Return below which number a model draws the residual codes (formats.md section 2, *Generation*).

    It belongs to the model family, whose training codes were made by the codec of that preset, so a
    `codec_config.json` beside the weights does not count: a smaller codec clamps codes when it decodes.

    Raises:
        SettingsError, UsageError: see `codec_config`.
    """
    config = parse(
        CodecConfig, read_preset("codec", preset), Message("the codec preset {preset}", preset=preset)
    )
    return config.quantizer.codebook_size
