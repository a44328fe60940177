"""Waveform to latent: strided causal convolutions, and transformers where the configuration says so."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .config import CodecConfig, CodecTransformerConfig
from .layers import DILATIONS, CausalConv1d, ResidualUnit, Snake
from .streaming import flat, stream
from .transformer import WindowedTransformer

CHUNK_SAMPLES = 45 * 2048
"""Samples that go through the convolutions at once: 2 s, 24 MB a tensor at full rate."""


class Encoder(nn.Module):
    """The convolutional encoder."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        width = config.encoder_dim
        blocks: list[nn.Module] = [CausalConv1d(1, width, 7)]
        for rate, layers in zip(config.encoder_rates, config.encoder_transformer_layers, strict=True):
            width *= 2
            blocks.append(EncoderBlock(width, rate, _transformer(config, width, layers) if layers else None))
        self.block = nn.Sequential(*blocks, Snake(width), CausalConv1d(width, config.quantizer.input_dim, 3))

    def forward(self, clips: list[Tensor]) -> Tensor:
        """Return the latents `(B, latent, T)` of B waveforms, zero-padded before the transformers.

        Up to the first transformer every clip goes alone and in chunks of time: these convolutions need
        most of the memory (64 channels at full rate are 11 MB a second, a tensor) and one clip fills a
        device; so a batch costs them neither padding nor memory. The transformers take the whole batch.

        Args:
            clips: waveforms `(1, 1, samples)`, each a multiple of one frame long.
        """
        front, rest = self._split()
        latents = [stream(front, clip, CHUNK_SAMPLES) for clip in clips]
        if len(latents) == 1:
            return cast(Tensor, rest(latents[0]))
        return cast(Tensor, rest(pad_sequence([x[0].mT for x in latents], batch_first=True).mT))

    def _split(self) -> tuple[list[nn.Module], nn.Sequential]:
        """Return the layers before the first transformer, and the others."""
        layers = flat(self.block)
        kinds = [isinstance(layer, WindowedTransformer) for layer in layers]
        cut = kinds.index(True) if True in kinds else len(layers)
        return layers[:cut], nn.Sequential(*layers[cut:])


class EncoderBlock(nn.Module):
    """Residual units, a strided convolution that doubles the channels, and perhaps a transformer."""

    def __init__(self, width: int, rate: int, transformer: WindowedTransformer | None) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(ResidualUnit(width // 2, dilation) for dilation in DILATIONS),
            Snake(width // 2),
            CausalConv1d(width // 2, width, 2 * rate, stride=rate),
        )
        if transformer is not None:
            self.block.append(transformer)


def _transformer(config: CodecConfig, width: int, layers: int) -> WindowedTransformer:
    return WindowedTransformer(
        CodecTransformerConfig(
            n_layer=layers,
            n_head=width // config.encoder_transformer_head_dim,
            dim=width,
            intermediate_size=3 * width,
            head_dim=config.encoder_transformer_head_dim,
            window_size=config.encoder_transformer_window,
        )
    )
