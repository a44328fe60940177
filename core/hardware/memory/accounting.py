"""Torch's own accounting of real modules, without a GPU and without memory for their numbers.

Modules run on the meta device, on tensors that have a shape and no content; `Accounting` sees every storage
that an operation makes and counts it until it is released. What torch does by the device is put in its place
as a GPU would do it (`gpu_kernels`). Imported only by processes that measure, and by tests.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .estimate import Part


class Accounting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own metaclass hook
    """Counts the bytes of live storages, each once, whatever views it has.

    What an operation makes belongs to the part whose turn it is (`enter`), which is also the phase that a
    peak is kept for.

    Attributes:
        moments: by phase, the bytes of every part at the instant when most were in use.

    Args:
        resident: tensors that are there before anything is computed.
    """

    def __init__(self, resident: Mapping[Part, Iterable[Tensor]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moments: dict[str, dict[Part, int]] = {}
        self._phase = Part.WORKING
        self._live = dict.fromkeys(Part, 0)
        self._total = self._peak = 0
        self._parts: dict[int, tuple[Part, int]] = {}
        self._shapes = _Shapes()
        for part, tensors in resident.items():
            for tensor in tensors:
                self.count(tensor, part)

    def enter(self, phase: Part) -> None:
        """What is made from now on belongs to `phase`."""
        self._phase = phase
        self._peak = sum(self.moments.get(phase, {}).values())
        self._compare()

    def count(self, tensor: Tensor, part: Part) -> None:
        """Count a tensor's storage; one that is counted already belongs to `part` from now on."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        before = self._parts.get(key)
        if before is None:
            size = storage.nbytes()
            self._total += size
            weakref.finalize(storage, self._release, key).atexit = False
        else:
            size = before[1]
            self._live[before[0]] -= size
        self._parts[key] = part, size
        self._live[part] += size
        self._compare()

    def _counts(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._parts

    def _compare(self) -> None:
        if self._total > self._peak:
            self._peak = self._total
            self.moments[self._phase] = dict(self._live)

    def _release(self, key: int) -> None:
        part, size = self._parts.pop(key)
        self._live[part] -= size
        self._total -= size

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: Any = None
    ) -> Any:
        """Run an operation and count what it makes."""
        result = self._shapes.run(operation, arguments, keywords or {})
        for leaf in (result,) if isinstance(result, Tensor) else tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_meta and not self._counts(leaf):
                self.count(leaf, self._phase)
        return result


class _Shapes:
    """Runs operations on meta tensors; results of one that was run before are only allocated.

    Many operations find the shape of their result in Python, and a model repeats its few hundred different
    ones tens of thousands of times.
    """

    def __init__(self) -> None:
        self._makes_new: dict[Any, bool] = {}
        self._results: dict[Any, list[tuple[Any, ...]]] = {}

    def run(self, operation: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        makes_new = self._makes_new.get(operation)
        if makes_new is None:
            makes_new = self._makes_new[operation] = _makes_new_tensors(operation)
        if not makes_new:
            return operation(*arguments, **keywords)
        key = operation, _shape_of(arguments), _shape_of(tuple(keywords.items()))
        try:
            known = self._results.get(key)
        except TypeError:  # something that cannot be looked up
            return operation(*arguments, **keywords)
        if known is not None:
            made = tuple(
                torch.empty_strided(size, stride, dtype=dtype, device="meta") for size, stride, dtype in known
            )
            return made if len(made) > 1 else made[0]
        result = operation(*arguments, **keywords)
        leaves = (result,) if isinstance(result, Tensor) else result
        if all(leaf.is_meta and not _is_view_of(leaf, arguments) for leaf in leaves):
            self._results[key] = [(leaf.shape, leaf.stride(), leaf.dtype) for leaf in leaves]
        return result


def _makes_new_tensors(operation: Any) -> bool:
    """Return whether all that an operation returns are tensors that its schema calls new."""
    schema = operation._schema
    return (
        not schema.is_mutable
        and bool(schema.returns)
        and all(each.alias_info is None and str(each.type) == "Tensor" for each in schema.returns)
    )


def _is_view_of(result: Tensor, arguments: tuple[Any, ...]) -> bool:
    """Return whether a result shares the storage of an argument, which a schema may pass over in silence."""
    storage = result.untyped_storage()._cdata
    return any(
        isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata == storage
        for leaf in tree_leaves(arguments)
    )


def _shape_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.is_meta
    if isinstance(value, tuple | list):
        return tuple(map(_shape_of, value))
    return type(value), value


@contextmanager
def gpu_kernels(*, autocast: bool = False, copies_stay: bool = True) -> Iterator[None]:
    """Let the meta device do what a GPU does.

    Attention is FlashAttention in bfloat16, the memory-efficient kernel in float32, and all products where
    that is refused: groups of heads.

    Args:
        autocast: compute matrix products and attention in bfloat16 and keep a copy of every matrix in it, as
            `torch.autocast` does, which leaves this device alone.
        copies_stay: whether those copies stay until the end, as they do of what is not compiled.
    """
    aten = torch.ops.aten
    plain_linear = F.linear
    copies: dict[Tensor, Tensor] = {}

    def low(x: Tensor) -> Tensor:
        return x.bfloat16() if autocast else x

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        copy = copies.get(weight)
        if copy is None:
            copy = low(weight)
            if autocast and copies_stay:
                copies[weight] = copy
        return plain_linear(low(x), copy, None if bias is None else low(bias))

    def attention(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        enable_gqa: bool = False,
    ) -> Any:
        q, k, v = low(q), low(k), low(v)
        if q.dtype == torch.bfloat16:
            return aten._scaled_dot_product_flash_attention(q, k, v, 0.0, is_causal)[0]
        if enable_gqa:
            return aten._scaled_dot_product_attention_math(
                q, k, v, attn_mask, 0.0, is_causal, None, enable_gqa=True
            )[0]
        if attn_mask is not None:  # added to the products, for every head
            full = torch.zeros(attn_mask.shape, device=q.device)
            attn_mask = full.expand(*q.shape[:2], *attn_mask.shape)
        return aten._scaled_dot_product_efficient_attention(
            q, k, v, attn_mask, q.requires_grad, 0.0, is_causal
        )[0]

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:  # noqa: ARG001
        return torch.native_dropout(x, p, True)[0] if training else x

    with (
        _replaced(F, "linear", linear),
        _replaced(F, "scaled_dot_product_attention", attention),
        _replaced(F, "dropout", dropout),
    ):
        yield


@contextmanager
def _replaced(owner: Any, name: str, new: Callable[..., Any]) -> Iterator[None]:
    old = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, old)
