"""The codec: speech to codes and back. Mono float32, `sample_rate` Hz; `B` clips, `K` codebooks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import DataError
from ..messages import Message
from .config import MAX_FRAMES, CodecConfig
from .decoder import Decoder
from .encoder import Encoder
from .quantizer import Quantizer


class CodecEncoder(nn.Module):
    """The half of a codec that makes codes; the half after the codes is neither built nor loaded."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = Quantizer(config)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def frames(self, samples: int) -> int:
        """Return how many frames `samples` samples make; the last may be padded."""
        return self.config.frames(samples)

    def encode(self, audio_B1T: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Return the codes `(B, K, frames)`, int64, on the codec's device.

        A clip's codes do not depend on the clips beside it. Where a clip has fewer frames than the
        longest, the columns after its own are padding without meaning.

        Args:
            audio_B1T: waveforms `(B, 1, T)` on the codec's device, shorter clips padded on the right.
            lengths: samples of each clip; None = all T.

        Raises:
            DataError: a clip is longer than the codec covers.
        """
        lengths = [audio_B1T.shape[-1]] * len(audio_B1T) if lengths is None else lengths
        clips = []
        for audio, length in zip(audio_B1T, lengths, strict=True):
            check_length(length, self.config)
            whole = self.frames(length) * self.config.frame_length
            clips.append(F.pad(audio[None, :, :length], (0, whole - length)))
        with torch.inference_mode(), _exact_arithmetic():
            return self.quantizer.encode(self.encoder(clips))


class Codec(CodecEncoder):
    """Encoder, quantizer and decoder: waveforms to codes and back."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        self.decoder = Decoder(config)

    def decode(self, codes_BKF: Tensor) -> Tensor:
        """Return the waveforms `(B, 1, frames · frame_length)`, float32 in −1 … 1.

        Args:
            codes_BKF: codes `(B, K, frames)` on the codec's device; codes out of range are clamped.
        """
        with torch.inference_mode(), _exact_arithmetic():
            return cast(Tensor, self.decoder(self.quantizer.decode(codes_BKF)))


_AUDIO = Message("The audio")


def check_length(samples: int, config: CodecConfig, name: str = _AUDIO) -> None:
    """Refuse audio that is longer than the codec covers.

    Args:
        samples: at the codec's sample rate.
        name: what the message calls the audio: its file.

    Raises:
        DataError: it makes more than `MAX_FRAMES` frames.
    """
    if config.frames(samples) > MAX_FRAMES:
        raise DataError(
            "{name} is {seconds} s long; the codec takes at most {limit} s.",
            "Split it at pauses into clips of 3 to 15 s, each with its own transcript.",
            name=name,
            seconds=math.ceil(samples / config.sample_rate),
            limit=math.floor(config.max_seconds),
        )


@contextmanager
def _exact_arithmetic() -> Iterator[None]:
    """Keep a GPU from rounding inputs to TensorFloat-32.

    It is cuDNN's default for convolutions, and for matrix products that of containers which set
    `TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`. Ten bits of mantissa move latents across the borders between codebook
    entries. Rounding like that on a CPU changed 1 to 4 % of the codes of speech (tiny random codec): they
    would depend on the card.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
