"""Layers that both networks share.

`B` batch, `T` positions, `D` channels, `H` heads, `G` key and value heads, `E` channels of a head.
Arithmetic: formats.md section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .exact import apply_rotary, rms_norm, swiglu


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension: in float32, cast back, then times the weight.

    Args:
        weight_in_float32: cast back only after the weight.
    """

    def __init__(self, dim: int, eps: float, *, weight_in_float32: bool = False) -> None:
        super().__init__()
        self.eps = eps
        self.weight_in_float32 = weight_in_float32
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised `x` (…, dim)."""
        return rms_norm(x, self.weight, self.eps, weight_in_float32=self.weight_in_float32)


def rotary_table(length: int, head_dim: int, base: float) -> Tensor:
    """Return cos and sin of the rotary angles as bfloat16 `(length, head_dim / 2, 2)`, on the CPU.

    They are computed in float32 and rounded to bfloat16, as the published models were trained; a
    module may hold the table as a buffer, since casting it to float32 is exact.
    """
    # The explicit device keeps the table real where modules are built on the meta device.
    exponents = torch.arange(0, head_dim, 2, device="cpu", dtype=torch.float32) / head_dim
    angles = torch.outer(torch.arange(length, device="cpu", dtype=torch.float32), 1.0 / base**exponents)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).bfloat16()


@dataclass(frozen=True)
class LayerPast:
    """What one attention layer has cached of each sequence, and where new columns of it go.

    Attributes:
        keys, values: `(B, G, L, E)`, of positions 0 … L−1; those of new columns are written into them.
        positions: of the new columns in their sequences, `(B, T)`.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor

    def put(self, keys_BTGE: Tensor, values_BTGE: Tensor) -> None:
        """Write keys and values of the new columns."""
        rows_B1 = torch.arange(len(self.positions), device=self.positions.device)[:, None]
        self.keys[rows_B1, :, self.positions] = keys_BTGE.type_as(self.keys)
        self.values[rows_B1, :, self.positions] = values_BTGE.type_as(self.values)


_SHORT = 16
"""Columns up to which a compiler is given attention as products: the codes of a frame. Kernels for long
sequences take blocks of 64 rows and more, and as long for ten."""


def _short_attention(q_BTHE: Tensor, k_BTGE: Tensor, v_BTGE: Tensor) -> Tensor:
    """Return causal attention, `(B, T, H · E)`: all queries of a group of heads meet its keys at once."""
    (batch, columns, heads, width), groups = q_BTHE.shape, k_BTGE.shape[2]
    rows = heads // groups * columns
    q_BTGHE = q_BTHE.view(batch, columns, groups, -1, width)
    q_BGRE = q_BTGHE.permute(0, 2, 3, 1, 4).reshape(batch, groups, rows, width)
    scores_BGRT = q_BGRE @ k_BTGE.permute(0, 2, 3, 1) * width**-0.5
    place_T = torch.arange(columns, device=q_BTHE.device)
    hidden_RT = (place_T[:, None] < place_T).repeat(heads // groups, 1)
    shares_BGRT = scores_BGRT.float().masked_fill(hidden_RT, -math.inf).softmax(-1).type_as(v_BTGE)
    attended_BGRE: Tensor = shares_BGRT @ v_BTGE.transpose(1, 2)
    attended_BGHTE = attended_BGRE.view(batch, groups, -1, columns, width)
    return attended_BGHTE.permute(0, 3, 1, 2, 4).reshape(batch, columns, heads * width)


class Attention(nn.Module):
    """Causal grouped-query self-attention with rotary embedding and fused `wqkv` (rows q, then k, then v).

    Args:
        n_local_heads: key and value heads.
        qk_norm: normalise queries and keys of each head before the rotary embedding; unlike other norms,
            these are cast back once, after their weight.
    """

    def __init__(
        self,
        dim: int,
        n_head: int,
        n_local_heads: int,
        head_dim: int,
        *,
        qkv_bias: bool = False,
        o_bias: bool = False,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.n_head, self.n_local_heads, self.head_dim = n_head, n_local_heads, head_dim
        self.wqkv = nn.Linear(dim, (n_head + 2 * n_local_heads) * head_dim, bias=qkv_bias)
        self.wo = nn.Linear(n_head * head_dim, dim, bias=o_bias)
        self.q_norm = RMSNorm(head_dim, norm_eps, weight_in_float32=True) if qk_norm else None
        self.k_norm = RMSNorm(head_dim, norm_eps, weight_in_float32=True) if qk_norm else None

    def forward(
        self,
        x_BTD: Tensor,
        rotary: Tensor,
        *,
        mask: Tensor | None = None,
        past: LayerPast | None = None,
    ) -> Tensor:
        """Return `(B, T, D)`.

        Args:
            rotary: rows of the rotary table for these positions, `(T, P, 2)`, or `(B, T, P, 2)`.
            mask: True where a query may see a key, `(T, keys)` or with dimensions of batch and heads before
                them; None = causal, among these positions alone.
            past: keys and values of earlier positions; those of these T are added. The mask is over its L
                positions, or over the first of them: no others are looked at.
        """
        q_rows, kv_rows = self.n_head * self.head_dim, self.n_local_heads * self.head_dim
        q, k, v = self.wqkv(x_BTD).split([q_rows, kv_rows, kv_rows], dim=-1)
        q_BTHE = q.unflatten(-1, (self.n_head, self.head_dim))
        k_BTGE = k.unflatten(-1, (self.n_local_heads, self.head_dim))
        v_BTGE = v.unflatten(-1, (self.n_local_heads, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            q_BTHE, k_BTGE = self.q_norm(q_BTHE), self.k_norm(k_BTGE)
        q_BTHE, k_BTGE = apply_rotary(q_BTHE, rotary), apply_rotary(k_BTGE, rotary)
        if past is not None:
            past.put(k_BTGE, v_BTGE)
        if past is None or mask is None:
            keys_BGTE, values_BGTE = k_BTGE.transpose(1, 2), v_BTGE.transpose(1, 2)
        else:
            seen = mask.shape[-1]
            keys_BGTE, values_BGTE = past.keys[:, :, :seen], past.values[:, :, :seen]
        if past is None and mask is None and x_BTD.shape[1] <= _SHORT and torch.compiler.is_compiling():
            return cast(Tensor, self.wo(_short_attention(q_BTHE, k_BTGE, v_BTGE)))
        is_one_column = past is not None and x_BTD.shape[1] == 1
        # Of one column, heads that share keys can stand as queries beside one another: no key is copied.
        queries = (
            q_BTHE.reshape(len(x_BTD), self.n_local_heads, -1, self.head_dim)
            if is_one_column
            else q_BTHE.transpose(1, 2)
        )
        attended = F.scaled_dot_product_attention(
            queries,
            keys_BGTE,
            values_BGTE,
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=not is_one_column and self.n_head != self.n_local_heads,
        )
        attended_BTHE = attended.flatten(1, 2)[:, None] if is_one_column else attended.transpose(1, 2)
        return cast(Tensor, self.wo(attended_BTHE.flatten(-2)))


class FeedForward(nn.Module):
    """Gated feed-forward: `w2(silu(w1 x) · w3 x)`, no biases."""

    def __init__(self, dim: int, intermediate_size: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, intermediate_size, bias=False)
        self.w3 = nn.Linear(dim, intermediate_size, bias=False)
        self.w2 = nn.Linear(intermediate_size, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(…, dim)`."""
        return cast(Tensor, self.w2(swiglu(self.w1(x), self.w3(x))))


def uninitialised_embedding(entries: int, dim: int) -> nn.Embedding:
    """Return an embedding whose weight awaits a checkpoint.

    Drawing initial weights on the meta device would load torch's compiler: 160 MiB and a second for nothing.
    """
    return nn.Embedding(entries, dim, _weight=torch.empty(entries, dim))
