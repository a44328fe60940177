"""Layers that both networks share.

`B` batch, `T` positions, `D` channels, `H` heads, `G` key and value heads, `E` channels of a head.
Arithmetic: formats.md section 2.
"""

from __future__ import annotations

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


class KeyValueCache:
    """Keys and values of one attention layer for positions 0 … length−1, allocated once."""

    def __init__(
        self, batch: int, heads: int, length: int, head_dim: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._keys = torch.empty(batch, heads, length, head_dim, dtype=dtype, device=device)
        self._values = torch.empty_like(self._keys)

    def put(self, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Store keys and values `(B, G, T, E)` at `start`; return those of all positions so far."""
        end = start + keys.shape[2]
        self._keys[:, :, start:end] = keys
        self._values[:, :, start:end] = values
        return self._keys[:, :, :end], self._values[:, :, :end]


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
        rotary_TP2: Tensor,
        *,
        mask_TT: Tensor | None = None,
        cache: KeyValueCache | None = None,
        start: int = 0,
    ) -> Tensor:
        """Return `(B, T, D)`.

        Args:
            rotary_TP2: rows of the rotary table for these T positions.
            mask_TT: True where a query may see a key; None = causal.
            cache: keys and values of positions before `start`; these T positions are added. Several
                positions at once are only possible at `start` 0.
        """
        q_rows, kv_rows = self.n_head * self.head_dim, self.n_local_heads * self.head_dim
        q, k, v = self.wqkv(x_BTD).split([q_rows, kv_rows, kv_rows], dim=-1)
        q_BTHE = q.unflatten(-1, (self.n_head, self.head_dim))
        k_BTGE = k.unflatten(-1, (self.n_local_heads, self.head_dim))
        v_BTGE = v.unflatten(-1, (self.n_local_heads, self.head_dim))
        if self.q_norm is not None and self.k_norm is not None:
            q_BTHE, k_BTGE = self.q_norm(q_BTHE), self.k_norm(k_BTGE)
        q_BTHE, k_BTGE = apply_rotary(q_BTHE, rotary_TP2), apply_rotary(k_BTGE, rotary_TP2)
        queries, keys, values = (heads.transpose(1, 2) for heads in (q_BTHE, k_BTGE, v_BTGE))
        if cache is not None:
            keys, values = cache.put(keys, values, start)
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask_TT,
            # One query at the end of the cache sees every key, so no mask is needed then.
            is_causal=mask_TT is None and start == 0,
            enable_gqa=self.n_head != self.n_local_heads,
        )
        return cast(Tensor, self.wo(attended.transpose(1, 2).flatten(-2)))


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
