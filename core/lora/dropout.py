"""Dropout of an adapter's input by a mask that is a formula, not a tensor.

An element stays if the product of its row's and its column's random number, modulo 2³², is no smaller than
a bound: multiplicative hashing (Dietzfelbinger et al., *A Reliable Randomized Algorithm for the Closest-Pair
Problem*, 1997, section 2). The numbers are odd, which makes every odd product as likely as any other: the
probability is met to within 2⁻³¹. torch's own dropout draws 64 bits for each element and keeps a mask and
another copy of the input; this keeps a number for each row and column, and a compiler makes it part of the
kernel that makes the input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_VALUES = 1 << 32  # of 32 bits


class Mask(NamedTuple):
    """Which elements of an input `(…, I)` stay.

    Attributes:
        rows, columns: odd numbers `(…)` and `(I,)`, int32.
        bound: the least product that stays.
    """

    rows: Tensor
    columns: Tensor
    bound: int


def draw_mask(x: Tensor, probability: float) -> Mask:
    """Return a mask for `x` `(…, I)` that drops elements with a probability, drawn on its device."""
    count, width = x.shape[:-1].numel(), x.shape[-1]
    drawn = torch.randint(
        -_VALUES // 2, _VALUES // 2 - 1, (count + width,), device=x.device, dtype=torch.int32
    )
    odd = drawn | 1
    return Mask(odd[:count].view(x.shape[:-1]), odd[count:], round(probability * _VALUES) - _VALUES // 2)


def masked(x: Tensor, mask: Mask) -> Tensor:
    """Return `x` with zeros where the mask drops; nothing is scaled."""
    stays = mask.rows[..., None] * mask.columns >= mask.bound
    return torch.where(stays, x, x.new_zeros(()))
