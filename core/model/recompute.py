"""A block of a transformer in training, and what of it is computed again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import (
    CheckpointPolicy,
    SelectiveCheckpointContext,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from ..config.settings import Checkpointing

_aten = torch.ops.aten
_PRODUCTS = {_aten.mm.default, _aten.addmm.default}
_ATTENTION = {
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
}
_DRAWS = {_aten.randint.low, _aten.randint.default}
"""Compiled, they would be drawn anew; dropout draws but a number for each row and column."""
_LONG_SUM = 256
"""A number of a product that sums up fewer than this many terms is cheaper to compute again than to keep: an
adapter's, over its rank."""


BlockForward = Callable[[nn.Module, Tensor, Tensor], Tensor]
BlockRunner = Callable[[nn.Module, Tensor, Tensor, Checkpointing], Tensor]
"""`run_block`, or a compiled one."""


def forward_block(block: nn.Module, x: Tensor, rotary: Tensor) -> Tensor:
    """Return what a block gives for `x` and rows of the rotary table."""
    return cast(Tensor, block(x, rotary))


def run_block(
    block: nn.Module, x: Tensor, rotary: Tensor, mode: Checkpointing, forward: BlockForward = forward_block
) -> Tensor:
    """Return what a block gives in training.

    Checkpoints are not reentrant, so gradients reach adapters below frozen embeddings; and they bring back
    the generators' states, so dropout is the same both times.

    Args:
        forward: `forward_block`, or a compiled one.
    """
    if mode == "none":
        return forward(block, x, rotary)
    if mode == "blocks":
        return checkpoint(forward, block, x, rotary, use_reentrant=False)
    return checkpoint(forward, block, x, rotary, use_reentrant=False, context_fn=_keeping_products)


def _policy(
    _context: SelectiveCheckpointContext, operation: Any, *arguments: Any, **_options: Any
) -> CheckpointPolicy:
    is_product = operation in _PRODUCTS and arguments[-2].shape[-1] >= _LONG_SUM
    if is_product or operation in _ATTENTION or operation in _DRAWS:
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


_keeping_products = functools.partial(create_selective_checkpoint_contexts, _policy)
