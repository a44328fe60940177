"""A step of a network replayed on sizes alone: which tensors live when, and how many bytes that is at most.

Operations are called as the network calls torch's. Each allocates its result, and notes what torch's
derivative formula of that operation saves (tools/autograd/derivatives.yaml) and what it allocates when it
runs. `backward` then runs the formulas in the engine's order, latest first, and lets go of what each had
saved. Memory is released as torch releases it: when the last reference goes. So peaks come out of the
network's own structure; nothing here is fitted.

Sizes are those of tensors. What an allocator adds, and workspaces inside kernels unless an operation names
them, is not counted here.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

BF16: Final = 2
FLOAT32: Final = 4
INT64: Final = 8
BOOL: Final = 1


class Part(StrEnum):
    """What memory is for; the rows of the tables that people see."""

    WEIGHTS = "weights"
    ADAPTERS = "adapters"
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    ACTIVATIONS = "activations kept"
    WORKING = "working memory"
    """Of the block at work: its recomputation, its intermediate results and gradients."""
    LOGITS = "logits chunk"
    FAST = "fast stack"
    CONTEXT = "CUDA context"
    RESERVE = "fragmentation reserve"


class Ledger:
    """Bytes that live now and at most."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self.parts: dict[Part, int] = dict.fromkeys(Part, 0)
        self.peak_parts = dict(self.parts)
        self.part = Part.WORKING
        self.has_gradients = False
        """Whether the gradients of all weights are there already, counted by the caller."""
        self.recording = True
        """Whether operations note their backward pass; off as under `torch.no_grad`."""
        self._numbers = itertools.count()

    def store(self, size: int, part: Part | None = None) -> Storage:
        """Allocate `size` bytes for a part (default: the present one)."""
        return Storage(self, size, part or self.part)

    def spike(self, size: int) -> None:
        """Allocate and release `size` bytes: scratch of one operation."""
        self.store(size)

    def next_number(self) -> int:
        """Return a number larger than all before it."""
        return next(self._numbers)

    @contextmanager
    def under(self, part: Part) -> Iterator[None]:
        """Count what is allocated inside towards `part`."""
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Let operations inside save nothing."""
        before, self.recording = self.recording, False
        try:
            yield
        finally:
            self.recording = before

    def _change(self, part: Part, size: int) -> None:
        self.live += size
        self.parts[part] += size
        if self.live > self.peak:
            self.peak = self.live
            self.peak_parts = self.parts.copy()


class Storage:
    """Memory that is released with its last reference, as a tensor's is."""

    __slots__ = ("_ledger", "_part", "size")

    def __init__(self, ledger: Ledger, size: int, part: Part) -> None:
        self.size = size
        self._part = part
        self._ledger = ledger
        ledger._change(part, size)

    def __del__(self) -> None:
        self._ledger._change(self._part, -self.size)


class Tensor:
    """A tensor without numbers.

    Args:
        elements: of this view; the storage may be larger.
        itemsize: bytes of an element.
        storage: whose view this is; None = new memory.
        source: operation that made it, through which its gradient flows back; None = no gradient does.
        slot: which of that operation's results it is.
    """

    __slots__ = ("elements", "itemsize", "ledger", "slot", "source", "storage")

    def __init__(
        self,
        ledger: Ledger,
        elements: int,
        itemsize: int,
        storage: Storage | None = None,
        source: Node | None = None,
        slot: int = 0,
    ) -> None:
        self.ledger = ledger
        self.elements = elements
        self.itemsize = itemsize
        self.storage = storage or ledger.store(elements * itemsize)
        self.source = source
        self.slot = slot

    @property
    def size(self) -> int:
        """Bytes of this view, which a gradient of it takes too."""
        return self.elements * self.itemsize


class Weight:
    """A parameter. Its own bytes are counted apart; its gradient appears in the backward pass and stays."""

    __slots__ = ("elements", "gradient", "itemsize", "trained")

    def __init__(self, elements: int, itemsize: int, *, trained: bool) -> None:
        self.elements = elements
        self.itemsize = itemsize
        self.trained = trained
        self.gradient: Storage | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.elements * self.itemsize

    def accumulate(self, ledger: Ledger) -> None:
        """Let a gradient arrive: the first stays, later ones are added to it."""
        if self.gradient is None and not ledger.has_gradients:
            self.gradient = ledger.store(self.size, Part.GRADIENTS)
        else:
            ledger.spike(self.size)


Formula = Callable[[list[Tensor]], Sequence[Tensor]]
"""From the gradients of an operation's results to those of the inputs that need one."""


class Node:
    """An operation in the backward pass.

    Args:
        inputs: tensors whose sources get the gradients that `formula` returns, in this order.
        formula: None for a leaf, and for an operation that was not recorded.
        saves: what the formula needs; dropped once it has run.
        results: how many results the operation has; the formula waits for the gradients of all.
    """

    __slots__ = ("edges", "formula", "number", "part", "results", "saves")

    def __init__(
        self,
        ledger: Ledger,
        inputs: Sequence[Tensor] = (),
        formula: Formula | None = None,
        saves: Sequence[object] = (),
        results: int = 1,
    ) -> None:
        self.number = ledger.next_number()
        self.part = ledger.part
        recorded = ledger.recording and formula is not None
        self.edges = [(x.source, x.slot) for x in inputs if x.source is not None] if recorded else []
        self.formula = formula if recorded else None
        self.saves = saves if recorded else ()
        self.results = results


def leaf(
    ledger: Ledger,
    elements: int,
    itemsize: int,
    storage: Storage | None = None,
    *,
    needs_gradient: bool = True,
) -> Tensor:
    """Return a tensor that comes from elsewhere; `backward` returns its gradient, if it needs one."""
    return Tensor(ledger, elements, itemsize, storage, Node(ledger) if needs_gradient else None)


def operation(
    inputs: Sequence[Tensor],
    elements: int,
    itemsize: int,
    *,
    saves: Sequence[object] = (),
    saves_result: bool = False,
    weights: Sequence[Weight] = (),
    backward_scratch: int = 0,
) -> Tensor:
    """Return the new tensor that an operation makes; each input's gradient is a new tensor of its size.

    Args:
        saves: what the backward pass needs.
        saves_result: it needs the result too.
        weights: parameters that the operation uses.
        backward_scratch: bytes that live during its backward pass, beside incoming and outgoing gradients.
    """
    ledger = inputs[0].ledger
    result = Tensor(ledger, elements, itemsize)
    reached = [x for x in inputs if x.source is not None]
    trained = [weight for weight in weights if weight.trained]
    if reached or trained:
        shapes = [(x.elements, x.itemsize) for x in reached]

        def formula(_incoming: list[Tensor]) -> list[Tensor]:
            outgoing = [Tensor(ledger, *shape) for shape in shapes]
            if backward_scratch:
                ledger.spike(backward_scratch)
            for weight in trained:
                weight.accumulate(ledger)
            return outgoing

        # The storage, not the tensor: a node that held its own result would never be released.
        result.source = Node(ledger, reached, formula, [*saves, result.storage] if saves_result else saves)
    return result


def passing(inputs: Sequence[Tensor], elements: int, itemsize: int) -> Tensor:
    """Return the new tensor of an operation whose incoming gradient is each input's too, such as a sum.

    Nothing is saved. An input of another type gets the gradient cast to its own.
    """
    ledger = inputs[0].ledger
    result = Tensor(ledger, elements, itemsize)
    reached = [x for x in inputs if x.source is not None]
    if reached:
        types = [x.itemsize for x in reached]

        def formula(incoming: list[Tensor]) -> list[Tensor]:
            (gradient,) = incoming
            return [
                gradient if itemsize == gradient.itemsize else Tensor(ledger, gradient.elements, itemsize)
                for itemsize in types
            ]

        result.source = Node(ledger, reached, formula)
    return result


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors copied into one; their gradients are views of its gradient."""
    ledger, itemsize = parts[0].ledger, parts[0].itemsize
    result = Tensor(ledger, sum(part.elements for part in parts), itemsize)
    reached = [part for part in parts if part.source is not None]
    if reached:
        sizes = [part.elements for part in reached]

        def formula(incoming: list[Tensor]) -> list[Tensor]:
            return [Tensor(ledger, elements, itemsize, incoming[0].storage) for elements in sizes]

        result.source = Node(ledger, reached, formula)
    return result


def view(x: Tensor, elements: int) -> Tensor:
    """Return a part of `x` in the same memory; its gradient is a whole one of `x`, zero elsewhere."""
    result = Tensor(x.ledger, elements, x.itemsize, x.storage)
    if x.source is not None:
        ledger, whole, itemsize = x.ledger, x.elements, x.itemsize
        result.source = Node(ledger, [x], lambda _: [Tensor(ledger, whole, itemsize)])
    return result


def split(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Return parts of `x` in the same memory; the backward pass waits for all and joins their gradients."""
    ledger, whole, itemsize = x.ledger, x.elements, x.itemsize
    source = None
    if x.source is not None:
        source = Node(ledger, [x], lambda _: [Tensor(ledger, whole, itemsize)], results=len(sizes))
    return [Tensor(ledger, size, itemsize, x.storage, source, slot) for slot, size in enumerate(sizes)]


def checkpoint(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `function(x)`, keeping only `x`; the backward pass computes it again (non-reentrant)."""
    ledger = x.ledger
    with ledger.unrecorded():
        result = function(x)
    needed, result.source = result.source is not None, None
    if needed:
        elements, itemsize, storage, passes = x.elements, x.itemsize, x.storage, x.source is not None

        def formula(incoming: list[Tensor]) -> list[Tensor]:
            inner = leaf(ledger, elements, itemsize, storage, needs_gradient=passes)
            return backward(function(inner), incoming.pop())

        result.source = Node(ledger, [x], formula, [storage])
    return result


def backward(result: Tensor, gradient: Tensor) -> list[Tensor]:
    """Run the backward pass from `result`, whose gradient is `gradient`.

    Returns the gradients of the leaves that it reaches. What the pass no longer needs is released on the
    way, unless the caller holds on to it.
    """
    if result.source is None:
        return []
    ledger = result.ledger
    part = ledger.part
    arrived: dict[int, list[Tensor | None]] = {result.source.number: [gradient]}
    queue = [(-result.source.number, result.source)]
    reached: list[Tensor] = []
    del result, gradient
    while queue:
        _, node = heapq.heappop(queue)
        incoming = [gradient for gradient in arrived.pop(node.number) if gradient is not None]
        if node.formula is None:
            reached += incoming
            continue
        ledger.part = node.part
        outgoing = list(node.formula(incoming))
        incoming.clear()
        node.saves = ()
        for source, slot in node.edges:
            new = outgoing.pop(0)
            if source.number not in arrived:
                arrived[source.number] = [None] * source.results
                heapq.heappush(queue, (-source.number, source))
            waiting = arrived[source.number]
            if waiting[slot] is None:  # otherwise the engine adds in place to the gradient that waits
                waiting[slot] = new
            del new
    ledger.part = part
    return reached
