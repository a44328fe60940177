"""A linear layer with an adapter: `peft`'s own in names and files, with a leaner training forward.

`N` rows, `I` and `O` channels in and out, `R` rank.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.quantised import QuantisedLinear, matrix
from .dropout import draw_mask, kept_share, masked, packed, unpacked
from .library import lora


class AdaptedLinear(lora.Linear):
    """`x Wᵀ + scaling · dropout(x) Aᵀ Bᵀ` in the type of `x`, where `peft` makes float32 copies of `x`.

    A and B stay float32. For the backward pass it keeps `x`, one bit per element of it and R numbers per row.
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
            scaling = scaling / kept_share(probability)
        return adapted_linear(x, base.weight, base.bias, a, b, scaling, mask, scales)


def adapted_linear(
    x: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    a_RI: Tensor,
    b_OR: Tensor,
    scaling: float,
    mask: Tensor | None = None,
    scales: Tensor | None = None,
) -> Tensor:
    """Return `x Wᵀ + bias + scaling · masked(x) Aᵀ Bᵀ`, `(…, O)`, of the type of `x`.

    W and bias are frozen: they get no gradient.

    Args:
        mask: of `dropout.draw_mask`; None = all of `x`.
        scales: of a W that is quantised (`compute.quantised`); None = it is not.
    """
    output = _AdaptedLinear.apply(x, weight_OI, scales, bias_O, a_RI, b_OR, scaling, mask)
    return cast(Tensor, output)


def _plain(weight: Tensor, scales: Tensor | None, x: Tensor) -> Tensor:
    """Return the frozen matrix that `x` is multiplied by."""
    return weight if scales is None else matrix(weight, scales, x.shape[-1], x.dtype)


class _AdaptedLinear(torch.autograd.Function):
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
        mask: Tensor | None,
    ) -> Tensor:
        seen = x if mask is None else masked(x, mask)
        low = F.linear(seen, a.type_as(x))
        ctx.save_for_backward(x, weight, scales, a, b, low, None if mask is None else packed(mask))
        ctx.scaling = scaling
        # Selective checkpointing keeps the base's product, which nothing may then change in place.
        output = F.linear(x, _plain(weight, scales, x), bias)
        added = torch.addmm(output.flatten(0, -2), low.flatten(0, -2), b.type_as(x).T, alpha=scaling)
        return added.view(output.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scales, a, b, low, bits = ctx.saved_tensors
        mask = None if bits is None else unpacked(bits)
        seen_NI = (x if mask is None else masked(x, mask)).flatten(0, -2)
        gradient_NO, low_NR = gradient.flatten(0, -2), low.flatten(0, -2)
        to_low_NR = gradient_NO @ (b.type_as(x) * ctx.scaling)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x_NI = to_low_NR @ a.type_as(x)
            if mask is not None:
                to_x_NI = masked(to_x_NI, mask.flatten(0, -2))
            to_x = to_x_NI.addmm_(gradient_NO, _plain(weight, scales, x)).view(x.shape)
        to_a, to_b = to_low_NR.T @ seen_NI, (gradient_NO.T @ low_NR).type_as(b) * ctx.scaling
        return to_x, None, None, None, to_a.type_as(a), to_b, None, None
