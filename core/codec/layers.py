"""Causal building blocks of the codec (formats.md section 4).

All sequences are channels first, `(B, C, T)`. Module and parameter names are those of the weights' file.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DILATIONS = (1, 3, 9)
"""Of the residual units before or after each rate."""


class Snake(nn.Module):
    """`x + sin²(αx) / (α + 1e-9)`, α per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, T)`."""
        # These sequences are hundreds of megabytes at full rate: one new tensor, changed in place.
        bent = (x * self.alpha).sin_().square_()
        return bent.mul_(1.0 / (self.alpha + 1e-9)).add_(x)


class CausalConv1d(nn.Module):
    """Convolution whose output at a position sees that position and earlier ones only.

    The length must be a multiple of the stride, which whole frames of audio are; then it takes left
    zero padding only: `(kernel − 1) · dilation + 1 − stride`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.context = (kernel - 1) * dilation + 1 - stride
        """Positions before its own stride that an output sees."""
        # Padding on both sides and cutting the right one off spares a padded copy of the input.
        self.conv = nn.Conv1d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            padding=self.context,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, out_channels, T / stride)`."""
        return cast(Tensor, self.conv(x))[..., : x.shape[-1] // self.stride]


class CausalTransposedConv1d(nn.Module):
    """Transposed convolution that loses its last `kernel − stride` outputs, and so is causal."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.context = -(-(kernel - stride) // stride)
        """Earlier inputs that an output sees."""
        self.conv = nn.ConvTranspose1d(in_channels, out_channels, kernel, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, out_channels, T · stride)`."""
        return cast(Tensor, self.conv(x))[..., : x.shape[-1] * self.stride]


class ResidualUnit(nn.Module):
    """Snake, convolution of 7, Snake, convolution of 1, added to the input."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels),
            CausalConv1d(channels, channels, 7, dilation=dilation),
            Snake(channels),
            CausalConv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, T)`."""
        return cast(Tensor, self.block(x)).add_(x)


class ConvNeXtBlock(nn.Module):
    """Depthwise causal convolution of 7, LayerNorm, feed-forward, LayerScale, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = CausalConv1d(channels, channels, 7, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, T)`."""
        branch = self.norm(self.dwconv(x).mT)
        branch = self.gamma * self.pwconv2(F.gelu(self.pwconv1(branch)))
        return x + cast(Tensor, branch).mT
