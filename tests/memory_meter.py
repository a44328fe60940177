"""What torch itself allocates, without a GPU: live storages of fake tensors, counted.

Under `FakeTensorMode` operations make tensors of the right size that hold no numbers; `LiveStorages` sees
every one and counts its storage until it is released. The backward pass cannot run on a fake `cuda` device in
a torch built with CUDA on a machine without it (its engine asks for the device), so tensors are fake CPU
ones, and what differs on a GPU is put in the place of what a CPU would do (`gpu_kernels`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorages(TorchDispatchMode):
    """Counts bytes of the storages that operations make; each once, whatever views it has."""

    def __init__(self, resident: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()
        for tensor in resident:
            self._see(tensor)

    def reset(self) -> None:
        """Forget the peak so far."""
        self.peak = self.live

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or tensor.device.type == "meta":  # meta: seeds, which no device holds
            return
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return result


def make_fake(model: nn.Module) -> None:
    """Replace the weights and tables of a model on the meta device by fake ones; call it in fake mode."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fake = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = nn.Parameter(fake, requires_grad=weight.requires_grad)
        for name, table in module._buffers.items():
            if table is not None:
                module._buffers[name] = torch.empty(table.shape, dtype=table.dtype)


@contextmanager
def gpu_kernels(monkeypatch: pytest.MonkeyPatch, chosen: int = 0) -> Iterator[None]:
    """Let attention and dropout be what they are on a GPU, and a mask choose `chosen` positions.

    Attention is FlashAttention in bfloat16, the memory-efficient kernel in float32, and all products where
    that is refused: groups of heads. (How many positions a mask chooses is data, which fakes don't have.)
    """
    aten = torch.ops.aten
    getitem = Tensor.__getitem__

    def attention(q, k, v, attn_mask=None, is_causal=False, enable_gqa=False):
        if torch.is_autocast_enabled("cpu"):
            q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
        if q.dtype == torch.bfloat16:
            return aten._scaled_dot_product_flash_attention(q, k, v, 0.0, is_causal)[0]
        if enable_gqa:
            return aten._scaled_dot_product_attention_math(
                q, k, v, attn_mask, 0.0, is_causal, None, enable_gqa=True
            )[0]
        if attn_mask is not None:  # added to the products, for every head
            attn_mask = torch.zeros(attn_mask.shape).expand(*q.shape[:2], *attn_mask.shape)
        needs_gradient = q.requires_grad
        return aten._scaled_dot_product_efficient_attention(
            q, k, v, attn_mask, needs_gradient, 0.0, is_causal
        )[0]

    def dropout(x, p=0.5, training=True, inplace=False):
        return torch.native_dropout(x, p, True)[0] if training else x

    def choose(tensor, index):
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            index = tuple(torch.empty(chosen, dtype=torch.int64) for _ in range(index.dim()))
        return getitem(tensor, index)

    with monkeypatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", attention)
        patch.setattr(F, "dropout", dropout)
        patch.setattr(Tensor, "__getitem__", choose)
        yield
