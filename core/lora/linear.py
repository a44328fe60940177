"""A linear layer with an adapter: `peft`'s own in names and files, with a leaner training forward.

`N` rows, `I` and `O` channels in and out, `R` rank.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.quantised import QuantisedLinear, matrix
from .dropout import Mask, draw_mask, masked
from .library import lora


class AdaptedLinear(lora.Linear):
    """`x Wᵀ + scaling · dropout(x) Aᵀ Bᵀ` in the type of `x`, where `peft` makes float32 copies of `x`.

    A and B stay float32. For the backward pass it keeps `x` and R numbers per row.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return `(…, O)`; what is not one plain adapter (DoRA, several, merged) `peft` computes itself."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else ""
        plain = name in self.lora_A and name not in self.lora_variant
        if args or kwargs or not plain or self.disable_adapters or self.merged:
            return super().forward(x, *args, **kwargs)
        base = cast(nn.Linear, self.get_base_layer())
        scales = base.scales if isinstance(base, QuantisedLinear) else None
        a, b = cast(nn.Linear, self.lora_A[name]).weight, cast(nn.Linear, self.lora_B[name]).weight
        scaling, mask = self.scaling[name], None
        probability = getattr(self.lora_dropout[name], "p", 0.0) if self.training else 0.0
        if probability:
            mask = draw_mask(x, probability)
            scaling = scaling / (1 - probability)
        return adapted_linear(x, base.weight, base.bias, a, b, scaling, mask, scales)


def adapted_linear(
    x: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    a_RI: Tensor,
    b_OR: Tensor,
    scaling: float,
    mask: Mask | None = None,
    scales: Tensor | None = None,
) -> Tensor:
    """Return `x Wᵀ + bias + scaling · masked(x) Aᵀ Bᵀ`, `(…, O)`, of the type of `x`.

    W and bias are frozen: they get no gradient.

    Args:
        mask: of `dropout.draw_mask`; None = all of `x`.
        scales: of a W that is quantised (`compute.quantised`); None = it is not.
    """
    rows, columns, bound = mask or (None, None, 0)
    output = _AdaptedLinear.apply(x, weight_OI, scales, bias_O, a_RI, b_OR, scaling, rows, columns, bound)
    return cast(Tensor, output)


def _plain(weight: Tensor, scales: Tensor | None, x: Tensor) -> Tensor:
    """Return the frozen matrix that `x` is multiplied by."""
    return weight if scales is None else matrix(weight, scales, x.shape[-1], x.dtype)


class _AdaptedLinear(torch.autograd.Function):
    """Compiled, both products of a row are one, over I + R terms: no output is read again to add to it.

    That costs a copy of W, and of x unless the compiler makes x where it is wanted.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        scales: Tensor | None,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        rows: Tensor | None,
        columns: Tensor | None,
        bound: int,
    ) -> Tensor:
        seen = x if rows is None or columns is None else masked(x, Mask(rows, columns, bound))
        low = F.linear(seen, (a * scaling).type_as(x))
        ctx.save_for_backward(x, weight, scales, a, b, low, rows, columns)
        ctx.scaling, ctx.bound = scaling, bound
        plain, narrow_b = _plain(weight, scales, x), b.type_as(x)
        if torch.compiler.is_compiling():
            return F.linear(torch.cat([x, low], -1), torch.cat([plain, narrow_b], 1), bias)
        # Selective checkpointing keeps the base's product, which nothing may then change in place.
        output = F.linear(x, plain, bias)
        return torch.addmm(output.flatten(0, -2), low.flatten(0, -2), narrow_b.T).view(output.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scales, a, b, low, rows, columns = ctx.saved_tensors
        mask = None if rows is None else Mask(rows, columns, ctx.bound)
        seen_NI = (x if mask is None else masked(x, mask)).flatten(0, -2)
        gradient_NO, low_NR = gradient.flatten(0, -2), low.flatten(0, -2)
        narrow_b = b.type_as(x)
        to_x, to_base_NI = None, None
        if torch.compiler.is_compiling() and ctx.needs_input_grad[0]:
            # B first, or the compiler would keep the copy that the forward pass made.
            plain = _plain(weight, scales, x)
            to_both = gradient_NO @ torch.cat([narrow_b, plain], 1)
            to_low_NR, to_base_NI = to_both[:, : b.shape[1]], to_both[:, b.shape[1] :]
        else:
            to_low_NR = gradient_NO @ narrow_b
        if ctx.needs_input_grad[0]:
            to_x = (to_low_NR @ (a * ctx.scaling).type_as(x)).view(x.shape)
            if mask is not None:
                to_x = masked(to_x, mask)
            if to_base_NI is None:
                to_x.flatten(0, -2).addmm_(gradient_NO, _plain(weight, scales, x))
            else:
                to_x = to_x + to_base_NI.view(x.shape)
        to_a = (to_low_NR.T @ seen_NI).type_as(a) * ctx.scaling
        to_b = (gradient_NO.T @ low_NR).type_as(b)
        return to_x, None, None, None, to_a, to_b, None, None, None, None
