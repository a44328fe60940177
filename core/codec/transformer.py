"""The codec's transformer: causal, and blind to what lies further back than its window.

`B` batch, `T` positions, `D` channels, `H` heads, `E` channels of a head, `W` the window.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.exact import apply_rotary
from ..compute.layers import FeedForward, RMSNorm, rotary_table
from .config import CodecTransformerConfig


class WindowedTransformer(nn.Module):
    """Pre-norm blocks with LayerScale over channels-first sequences, and a final RMSNorm."""

    def __init__(self, config: CodecTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x_BDT: Tensor) -> Tensor:
        """Return `(B, D, T)`."""
        config, length = self.config, x_BDT.shape[-1]
        rotary = rotary_table(length, config.head_dim, config.rope_base).to(x_BDT.device)
        # Batch and channels first is how convolutions leave it; linear layers want it dense.
        x_BTD = x_BDT.mT.contiguous()
        for layer in self.layers:
            x_BTD = layer(x_BTD, rotary)
        return cast(Tensor, self.norm(x_BTD)).mT


class TransformerBlock(nn.Module):
    """`h = x + γ · attention(norm(x))`, then `h + γ′ · feed_forward(norm(h))`."""

    def __init__(self, config: CodecTransformerConfig) -> None:
        super().__init__()
        self.attention = WindowedAttention(config)
        self.feed_forward = FeedForward(config.dim, config.intermediate_size)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention_layer_scale = LayerScale(config.dim)
        self.ffn_layer_scale = LayerScale(config.dim)

    def forward(self, x_BTD: Tensor, rotary: Tensor) -> Tensor:
        """Return `(B, T, D)`; `rotary` is the table of the T positions."""
        h = x_BTD + self.attention_layer_scale(self.attention(self.attention_norm(x_BTD), rotary))
        return cast(Tensor, h + self.ffn_layer_scale(self.feed_forward(self.ffn_norm(h))))


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(…, dim)`."""
        return x * self.gamma


class WindowedAttention(nn.Module):
    """Causal self-attention with rotary embedding over the last W positions, fused `wqkv`, no biases."""

    def __init__(self, config: CodecTransformerConfig) -> None:
        super().__init__()
        width = config.n_head * config.head_dim
        self.n_head, self.window = config.n_head, config.window_size
        self.wqkv = nn.Linear(config.dim, 3 * width, bias=False)
        self.wo = nn.Linear(width, config.dim, bias=False)

    def forward(self, x_BTD: Tensor, rotary: Tensor) -> Tensor:
        """Return `(B, T, D)`; `rotary` is the table of the T positions."""
        batch, length, _ = x_BTD.shape
        q, k, v = self.wqkv(x_BTD).view(batch, length, 3, self.n_head, -1).unbind(2)
        q, k = apply_rotary(q, rotary), apply_rotary(k, rotary)
        attended = windowed_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), self.window)
        return cast(Tensor, self.wo(attended.transpose(1, 2).flatten(-2)))


def windowed_attention(q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor, window: int) -> Tensor:
    """Return attention `(B, H, T, E)` in which a position sees the last `window` ones, itself included.

    Queries are taken in blocks of W. Block n sees the keys of blocks n−1 and n through one mask of
    (W, 2W), the same for every block; so work and memory grow with T·W instead of T². A clip of 190 s
    has 16,384 positions in the encoder and W = 512: a sixteenth of the products, and no mask of 268
    million entries.

        W = 3            keys of block n−1 | keys of block n
        query 0 sees          . x x        |      x . .
        query 1 sees          . . x        |      x x .
        query 2 sees          . . .        |      x x x
    """
    length = q_BHTE.shape[2]
    first = F.scaled_dot_product_attention(
        q_BHTE[:, :, :window], k_BHTE[:, :, :window], v_BHTE[:, :, :window], is_causal=True
    )
    if length <= window:
        return first
    # Zero keys behind the end are hidden by causality.
    end = -(-length // window) * window
    q, k, v = (F.pad(x, (0, 0, 0, end - length)) for x in (q_BHTE[:, :, window:], k_BHTE, v_BHTE))
    batch, heads, _, channels = q.shape
    # Batch and heads join, blocks take the place of heads: the fused kernels want four dimensions.
    blocks = q.reshape(batch * heads, -1, window, channels)
    keys, values = (x.unfold(2, 2 * window, window).mT.flatten(0, 1) for x in (k, v))
    distance = torch.arange(window, 2 * window, device=q.device)[:, None] - torch.arange(
        2 * window, device=q.device
    )
    visible = (distance >= 0) & (distance < window)
    later = F.scaled_dot_product_attention(blocks, keys, values, attn_mask=visible)
    later = later.reshape(batch, heads, -1, channels)
    return torch.cat([first, later[:, :, : length - window]], dim=2)
