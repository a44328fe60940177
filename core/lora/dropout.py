"""Dropout of an adapter's input: a mask that is drawn once and kept at one bit per element.

Sixteen random bits decide about an element, so the probability is met to within 2⁻¹⁷. torch's own dropout
draws 64 bits for each and keeps the scaled input as another copy.
"""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 1 << 16  # values of sixteen bits
_GATHER = 0x0102040810204080  # product with eight bytes of 0 or 1: its highest byte has one bit of each
_SPREAD = 0x0101010101010101  # product with a byte: that byte eight times
_ONE_BIT_EACH = 0x8040201008040201 - (1 << 64)  # of each of these eight another bit; as a signed number


def dropped_steps(probability: float) -> int:
    """Return how many of the values of sixteen bits drop an element."""
    return round(probability * _STEPS)


def kept_share(probability: float) -> float:
    """Return the share of elements that stay, as `draw_mask` draws them."""
    return 1 - dropped_steps(probability) / _STEPS


def draw_mask(x: Tensor, probability: float) -> Tensor:
    """Return which elements of `x` stay, from torch's generator of its device: bool, flat, eights filled."""
    words = 2 * -(-x.numel() // 8)
    bits = torch.randint(-(1 << 63), (1 << 63) - 1, (words,), device=x.device, dtype=torch.int64)
    return bits.view(torch.int16) >= dropped_steps(probability) - _STEPS // 2


def masked(x: Tensor, mask: Tensor) -> Tensor:
    """Return `x` with zeros where the mask drops; nothing is scaled."""
    return torch.where(mask[: x.numel()].view(x.shape), x, x.new_zeros(()))


def packed(mask: Tensor) -> Tensor:
    """Return a mask at one bit per element, int8."""
    return ((mask.view(torch.int64) * _GATHER) >> 56).to(torch.int8)


def unpacked(bits: Tensor) -> Tensor:
    """Return the mask that `packed` was given."""
    spread = (bits.to(torch.int64) & 0xFF) * _SPREAD & _ONE_BIT_EACH
    return spread.view(torch.uint8) != 0
