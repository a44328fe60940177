"""Latent to codes and back: downsampling, a transformer, residual vector quantization.

Parameter names are those of the weights' file; what comes after the codes is in `decoder.py`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.layers import uninitialised_embedding
from .config import CodecConfig
from .layers import CausalConv1d, ConvNeXtBlock
from .transformer import WindowedTransformer

# Positions compared with a codebook at once: 64 MiB of similarities for 4096 entries.
_POSITIONS_AT_ONCE = 4096


class Quantizer(nn.Module):
    """A semantic codebook and, on what it leaves, the residual codebooks."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        shape = config.quantizer
        channels = shape.input_dim
        self.downsample = nn.Sequential(
            *(
                nn.Sequential(
                    CausalConv1d(channels, channels, factor, stride=factor), ConvNeXtBlock(channels)
                )
                for factor in shape.downsample_factor
            )
        )
        self.pre_module = WindowedTransformer(config.quantizer_transformer)
        self.semantic_quantizer = CodebookStack(channels, shape.codebook_dim, [shape.semantic_codebook_size])
        self.quantizer = CodebookStack(
            channels, shape.codebook_dim, [shape.codebook_size] * shape.n_codebooks
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes `(B, K, frames)` of the encoder's latents `(B, D, T)`."""
        residual = self.pre_module(self.downsample(x))
        *first, last = self._codebooks()
        codes = []
        for codebook in first:
            codes.append(codebook.nearest(residual))
            residual = residual - codebook.vectors(codes[-1])
        # What the last codebook leaves is not needed.
        return torch.stack([*codes, last.nearest(residual)], dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the quantized latents `(B, D, frames)` of codes `(B, K, frames)`, clamped into range."""
        vectors = [
            codebook.vectors(codes[:, i].clamp(0, codebook.size - 1))
            for i, codebook in enumerate(self._codebooks())
        ]
        return torch.stack(vectors).sum(0)

    def _codebooks(self) -> list[Codebook]:
        return [
            cast(Codebook, codebook)
            for stack in (self.semantic_quantizer, self.quantizer)
            for codebook in stack.quantizers
        ]


class CodebookStack(nn.Module):
    """Codebooks under the name that the weights' file gives them."""

    def __init__(self, channels: int, codebook_dim: int, sizes: list[int]) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(Codebook(channels, codebook_dim, size) for size in sizes)


class Codebook(nn.Module):
    """One vector quantizer: entries are compared by angle, in a few channels."""

    def __init__(self, channels: int, codebook_dim: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.in_proj = nn.Conv1d(channels, codebook_dim, 1)
        self.out_proj = nn.Conv1d(codebook_dim, channels, 1)
        self.codebook = uninitialised_embedding(size, codebook_dim)

    def nearest(self, x: Tensor) -> Tensor:
        """Return for `x` `(B, D, T)` the nearest entries `(B, T)`; on ties the lowest.

        Between unit vectors the nearest is the one of the largest inner product.
        """
        batch, _, length = x.shape
        positions = F.normalize(self.in_proj(x), dim=1).mT.flatten(0, 1)
        entries = F.normalize(self.codebook.weight)
        chosen = [(part @ entries.T).argmax(-1) for part in torch.split(positions, _POSITIONS_AT_ONCE)]
        return torch.cat(chosen).view(batch, length)

    def vectors(self, codes: Tensor) -> Tensor:
        """Return what the entries `codes` `(B, T)` stand for, `(B, D, T)`."""
        return cast(Tensor, self.out_proj(self.codebook(codes).mT))
