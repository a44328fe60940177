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


class Past:
    """The last inputs of each causal layer, kept from one piece of a sequence to the next."""

    def __init__(self) -> None:
        self._tails: dict[nn.Module, Tensor] = {}

    def join(self, layer: nn.Module, x: Tensor, context: int) -> Tensor:
        """Return `x` `(B, C, T)` behind the `context` inputs of `layer` before it, zeros at the beginning."""
        if context == 0:
            return x
        tail = self._tails.get(layer)
        joined = F.pad(x, (context, 0)) if tail is None else torch.cat([tail, x], dim=-1)
        self._tails[layer] = joined[..., -context:].clone()  # a view would keep all of it
        return joined


class Snake(nn.Module):
    """`x + sin²(αx) / (α + 1e-9)`, α per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor, _past: Past | None = None) -> Tensor:
        """Return `(B, C, T)`; positions do not see each other, so there is no past."""
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
        self.conv = nn.Conv1d(
            in_channels, out_channels, kernel, stride=stride, dilation=dilation, groups=groups
        )

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Return `(B, out_channels, T / stride)`; `past` holds what came before, None = nothing did."""
        return cast(Tensor, self.conv((past or Past()).join(self, x, self.context)))


class CausalTransposedConv1d(nn.Module):
    """Transposed convolution that loses its last `kernel − stride` outputs, and so is causal."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.context = -(-(kernel - stride) // stride)
        """Earlier inputs that an output sees."""
        self.conv = nn.ConvTranspose1d(in_channels, out_channels, kernel, stride=stride)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Return `(B, out_channels, T · stride)`; `past` as in `CausalConv1d`."""
        begin = self.context * self.stride
        y = cast(Tensor, self.conv((past or Past()).join(self, x, self.context)))
        return y[..., begin : begin + x.shape[-1] * self.stride]


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

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """Return `(B, C, T)`; `past` as in `CausalConv1d`."""
        y = x
        for layer in self.block:
            y = layer(y, past)
        return y.add_(x)


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
