"""Elementwise layers that keep for the backward pass only what it needs, in the type they were given.

Written as plain torch, each of them would keep float32 copies of all that it computes in between. Values are
those of the plain computation; what the backward pass needs again, it computes again from the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, weight_in_float32: bool = False) -> Tensor:
    """Return `x` (…, dim) over its root mean square, in float32, times `weight` (dim).

    Args:
        weight_in_float32: multiply by the weight before casting back, not after.
    """
    return cast(Tensor, _RMSNorm.apply(x, weight, eps, weight_in_float32))


def apply_rotary(x_BTHE: Tensor, table: Tensor) -> Tensor:
    """Return `x`, its interleaved pairs (x₂ᵢ, x₂ᵢ₊₁) turned by the angles whose cos and sin the table holds.

    In float32, cast back. The table is `(T, P, 2)`, or `(B, T, P, 2)` where positions differ by row.
    """
    return cast(Tensor, _Rotary.apply(x_BTHE, table))


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return `silu(gate) · up`."""
    return cast(Tensor, _SwiGLU.apply(gate, up))


CrossEntropy = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor | None]]
"""`cross_entropy`, or a compiled one."""


def cross_entropy(logits: Tensor, labels: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Return the summed cross-entropy of `logits` `(…, V)`, float32, and where wanted its gradient.

    The gradient, of the type of the logits, is softmax less 1 at the label.
    """
    log_shares = F.log_softmax(logits, dim=-1, dtype=torch.float32)
    own = log_shares.gather(-1, labels[..., None])
    loss = -own.sum()
    if not with_gradient:
        return loss, None
    to_logits = log_shares.exp_().type_as(logits)
    return loss, to_logits.scatter_(-1, labels[..., None], own.expm1().type_as(logits))


def _wide(x: Tensor) -> Tensor:
    """Return `x` in float32, or as it is where it has more digits."""
    return x if x.dtype == torch.float64 else x.float()


def _anew(x: Tensor) -> Tensor:
    """Return `x` as another tensor on the same memory.

    What a forward pass returns may be nothing that it also knows by another name, as after an operation in
    place or a cast to the type it has: the compiler of torch 2.11 then takes its gradient for zero.
    """
    return x.view_as(x)


class _RMSNorm(torch.autograd.Function):
    """With n = x / rms(x): dx = (g − n · mean(g · n)) / rms(x), where g is the gradient of n."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, weight_in_float32: bool) -> Tensor:
        wide = _wide(x)
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        ctx.weight_in_float32 = weight_in_float32
        normalised = wide * scale
        if weight_in_float32:
            return _anew((normalised * _wide(weight)).type_as(x))
        return normalised.type_as(x) * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        normalised = _wide(x) * scale
        if ctx.weight_in_float32:
            gradient, factor = _wide(gradient), normalised
        else:
            factor = normalised.type_as(x)
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (gradient * factor).flatten(0, -2).sum(0).type_as(weight)
        inner = _wide(gradient * weight)
        shared = (inner * normalised).mean(-1, keepdim=True)
        to_x = torch.addcmul(inner, normalised, shared, value=-1).mul_(scale)
        return to_x.type_as(x), to_weight, None, None


class _Rotary(torch.autograd.Function):
    """A turn; its gradient is turned back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(table)
        return _anew(_turned(x, table))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (table,) = ctx.saved_tensors
        return _turned(gradient, table, back=True), None


def _turned(x_BTHE: Tensor, table: Tensor, *, back: bool = False) -> Tensor:
    pairs, table_T1P2 = _wide(x_BTHE).reshape(*x_BTHE.shape[:-1], -1, 2), _wide(table)[..., None, :, :]
    if x_BTHE.is_cpu and not torch.compiler.is_compiling():
        # The same numbers ten times as fast; but no compiler takes complex ones.
        angles = torch.view_as_complex(table_T1P2)
        turned = torch.view_as_real(
            torch.view_as_complex(pairs.contiguous()) * (angles.conj() if back else angles)
        )
    else:
        # Each number beside its partner: a compiler makes that two loads, of stacked halves a dozen.
        cos, sin = table_T1P2.unbind(-1)
        signs = (sin, -sin) if back else (-sin, sin)
        turned = pairs * cos[..., None] + pairs.flip(-1) * torch.stack(signs, dim=-1)
    return turned.flatten(-2).type_as(x_BTHE)


class _SwiGLU(torch.autograd.Function):
    """Keeps gate and up; silu(gate) and the product come and go."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return _anew(F.silu(gate).mul_(up))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        to_gate = torch.ops.aten.silu_backward(gradient * up, gate)
        return to_gate, F.silu(gate).mul_(gradient)
