"""Quantized latent to waveform."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .config import CodecConfig
from .encoder import CHUNK_SAMPLES
from .layers import DILATIONS, CausalConv1d, CausalTransposedConv1d, ConvNeXtBlock, ResidualUnit, Snake
from .streaming import stream
from .transformer import WindowedTransformer


class Decoder(nn.Module):
    """Everything after the codes: transformer, upsampling and the convolutional decoder."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        channels, width = config.quantizer.input_dim, config.decoder_dim
        self.hop_length = config.hop_length
        self.post_module = WindowedTransformer(config.quantizer_transformer)
        self.upsample = nn.Sequential(
            *(
                nn.Sequential(
                    CausalTransposedConv1d(channels, channels, factor, stride=factor), ConvNeXtBlock(channels)
                )
                for factor in reversed(config.quantizer.downsample_factor)
            )
        )
        blocks: list[nn.Module] = []
        for rate in config.decoder_rates:
            blocks.append(DecoderBlock(width, rate))
            width //= 2
        self.model = nn.Sequential(
            CausalConv1d(channels, config.decoder_dim, 7), *blocks, Snake(width), CausalConv1d(width, 1, 7)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the waveforms `(B, 1, samples)` of quantized latents `(B, D, frames)`."""
        latent = self.upsample(self.post_module(x))
        chunk = CHUNK_SAMPLES // self.hop_length
        waveforms = [stream(self.model, clip[None], chunk) for clip in latent]
        return torch.cat(waveforms).tanh_()


class DecoderBlock(nn.Module):
    """A transposed convolution that halves the channels, and residual units."""

    def __init__(self, width: int, rate: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(width),
            CausalTransposedConv1d(width, width // 2, 2 * rate, stride=rate),
            *(ResidualUnit(width // 2, dilation) for dilation in DILATIONS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, width / 2, T · rate)`."""
        return cast(Tensor, self.block(x))
