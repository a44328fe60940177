"""The layers of `core/compute/layers.py` and the adapters of `peft`, replayed on a ledger.

Every function follows its counterpart line by line, so that intermediate results live as long as they do
there. Sizes are elements over all positions; `positions` are rows of a batch laid end to end.

What torch saves for the backward pass, where it saves anything: a product the other factor of each factor
that needs a gradient; a square, silu and a matrix product with a trained weight their input; a reciprocal
root and softmax their result; dropout a mask of one byte an element; fused attention its three inputs, its
result and one float32 a row and head.
"""

from __future__ import annotations

from dataclasses import dataclass

from .ledger import BF16, BOOL, FLOAT32, Tensor, Weight, joined, leaf, operation, passing, split, view


@dataclass(frozen=True)
class Adapter:
    """LoRA of one module, as `peft` computes it: in float32, beside the base's result."""

    rank: int
    dropout: bool
    dora: bool


@dataclass(frozen=True)
class Linear:
    """A linear layer, perhaps with an adapter.

    Args:
        weight: (outputs, inputs).
        autocast: inputs and weight are cast to bfloat16.
    """

    inputs: int
    outputs: int
    weight: Weight
    autocast: bool = False
    adapter: Adapter | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return `(positions, outputs)`."""
        result = self._matrix_product(x, self.weight, self.outputs)
        if self.adapter is None:
            return result
        itemsize = result.itemsize
        down = Weight(self.adapter.rank * self.inputs, FLOAT32, trained=True)
        up = Weight(self.outputs * self.adapter.rank, FLOAT32, trained=True)
        x = cast(x, FLOAT32)
        if self.adapter.dora:
            result = self._dora(x, result, self.adapter, down, up)
        else:
            # result + lora_B(lora_A(dropout(x))) · scaling
            low = self._matrix_product(dropout(x) if self.adapter.dropout else x, down, self.adapter.rank)
            result = added(result, scaled(self._matrix_product(low, up, self.outputs)))
            del low
        return cast(result, itemsize)

    def _matrix_product(self, x: Tensor, weight: Weight, outputs: int) -> Tensor:
        positions = x.elements * outputs // weight.elements
        x = cast(x, BF16) if self.autocast else x
        saves = [x] if weight.trained else []
        return operation([x], positions * outputs, x.itemsize, saves=saves, weights=[weight])

    def _dora(self, x: Tensor, result: Tensor, adapter: Adapter, down: Weight, up: Weight) -> Tensor:
        """`result + (m − 1) · base + m · scaling · lora_B(lora_A(x))`, m = magnitude / norm of W + ΔW."""
        ledger, entries = x.ledger, self.inputs * self.outputs * FLOAT32
        base = result
        x = dropout(x) if adapter.dropout else x
        # ΔW is lora_B(lora_A(identity)); its graph, which nobody uses, holds the identity.
        delta_weight = [ledger.store(self.inputs**2 * FLOAT32), ledger.store(entries)]
        weight = Weight(self.inputs * self.outputs, FLOAT32, trained=False)
        held = [ledger.store(entries)] if self.weight.itemsize != FLOAT32 else []
        ledger.spike(2 * entries)  # scaling · ΔW, and W + it, for the norm
        magnitude = leaf(ledger, self.outputs, FLOAT32)
        delta = self._matrix_product(self._matrix_product(x, down, adapter.rank), up, self.outputs)
        if adapter.dropout:  # then the base's result is computed again, from what dropout left
            positions = x.elements // self.inputs
            base = operation([x], positions * self.outputs, FLOAT32, saves=held, weights=[weight])
        correction = added(product(base, magnitude), scaled(product(delta, magnitude)))
        del delta_weight
        return added(result, correction)


def cast(x: Tensor, itemsize: int) -> Tensor:
    """Return `x` in another type; `x` itself if it has it already."""
    return x if x.itemsize == itemsize else operation([x], x.elements, itemsize)


def added(a: Tensor, b: Tensor) -> Tensor:
    """Return a + b, or a − b, in the wider of both types."""
    return passing([a, b], a.elements, max(a.itemsize, b.itemsize))


def scaled(x: Tensor) -> Tensor:
    """Return `x` times something small that needs no gradient."""
    return operation([x], x.elements, x.itemsize)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a · b, elementwise; `b` may have fewer elements, each for several of `a`."""
    itemsize = max(a.itemsize, b.itemsize)
    saves = [other for one, other in ((a, b), (b, a)) if one.source is not None]
    # The gradient of the smaller factor is summed up from a whole product.
    whole = a.elements * itemsize if b.elements < a.elements and b.source is not None else 0
    return operation([a, b], a.elements, itemsize, saves=saves, backward_scratch=whole)


def times_weight(x: Tensor, weight: Weight) -> Tensor:
    """Return `x` times a weight a channel."""
    itemsize = max(x.itemsize, weight.itemsize)
    scratch = x.elements * itemsize if weight.trained else 0
    return operation(
        [x],
        x.elements,
        itemsize,
        saves=[x] if weight.trained else [],
        weights=[weight],
        backward_scratch=scratch,
    )


def dropout(x: Tensor) -> Tensor:
    """Return `x` with elements dropped; the mask is saved."""
    mask = x.ledger.store(x.elements * BOOL)
    return operation([x], x.elements, x.itemsize, saves=[mask])


def keeping_result(x: Tensor) -> Tensor:
    """Return a function of `x` whose result is saved: a softmax, its logarithm, a reciprocal root."""
    return operation([x], x.elements, x.itemsize, saves_result=True)


def rms_norm(x: Tensor, weight: Weight) -> Tensor:
    """Return the normalised `x`; see `nn.RMSNorm`. The weight has one value a channel."""
    rows = x.elements // weight.elements
    wide = cast(x, FLOAT32)
    # d(x²) = g · (2 · x¹): the power and its double are tensors of their own.
    squares = operation([wide], wide.elements, FLOAT32, saves=[wide], backward_scratch=2 * wide.size)
    mean = operation([squares], rows, FLOAT32)
    del squares
    root = keeping_result(mean)
    normalised = product(wide, root)
    return times_weight(cast(normalised, x.itemsize), weight)


def rotary(x: Tensor) -> Tensor:
    """Return `x` with its pairs turned; see `nn.apply_rotary`. The tables are small."""
    pairs = cast(x, FLOAT32)
    even, odd = view(pairs, pairs.elements // 2), view(pairs, pairs.elements // 2)
    first = added(scaled(even), scaled(odd))
    second = added(scaled(odd), scaled(even))
    turned = joined([first, second])
    del first, second
    return cast(turned, x.itemsize)


@dataclass(frozen=True)
class Attention:
    """`nn.Attention` with a causal mask."""

    n_head: int
    n_local_heads: int
    head_dim: int
    wqkv: Linear
    wo: Linear
    q_norm: Weight | None
    k_norm: Weight | None

    def __call__(self, x: Tensor, length: int) -> Tensor:
        """Return `(positions, dim)`; `length` positions make a row."""
        positions = x.elements // self.wqkv.inputs
        q_elements = positions * self.n_head * self.head_dim
        kv_elements = positions * self.n_local_heads * self.head_dim
        q, k, v = split(self.wqkv(x), [q_elements, kv_elements, kv_elements])
        if self.q_norm is not None and self.k_norm is not None:
            q, k = rms_norm(q, self.q_norm), rms_norm(k, self.k_norm)
        q, k = rotary(q), rotary(k)
        if self.wqkv.autocast:
            q, k, v = (cast(heads, BF16) for heads in (q, k, v))
        return self.wo(self._attended(q, k, v, positions, length))

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, positions: int, length: int) -> Tensor:
        # FlashAttention takes no float32, the memory-efficient kernel no groups of heads.
        if q.itemsize == BF16 or self.n_head == self.n_local_heads:
            return self._fused(q, k, v, positions)
        return self._plain(q, k, v, positions, length)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, positions: int) -> Tensor:
        """A fused kernel: the products of queries and keys never exist whole."""
        normaliser = q.ledger.store(positions * self.n_head * FLOAT32)
        # Inside its backward kernel: gradients of the queries in float32, and of keys and values for
        # every query head before they are summed up over their group.
        inside = q.elements * FLOAT32
        if self.n_head != self.n_local_heads:
            inside += 2 * q.elements * q.itemsize
        return operation(
            [q, k, v],
            q.elements,
            q.itemsize,
            saves=[q, k, v, normaliser],
            saves_result=True,
            backward_scratch=inside,
        )

    def _plain(self, q: Tensor, k: Tensor, v: Tensor, positions: int, length: int) -> Tensor:
        """All products of queries and keys: torch's fallback where no fused kernel takes these inputs."""
        scores = positions * self.n_head * length
        q = scaled(q)
        keys, values = (operation([heads], q.elements, heads.itemsize) for heads in (k, v))  # for every head
        scaled_keys, dense = scaled(keys), scaled(q)
        attention = operation([dense, scaled_keys], scores, q.itemsize, saves=[dense, scaled_keys])
        attention = passing([attention], scores, q.itemsize)  # the mask is added
        attention = keeping_result(attention)
        return operation([attention, values], q.elements, q.itemsize, saves=[attention, values])


@dataclass(frozen=True)
class FeedForward:
    """`nn.FeedForward`."""

    w1: Linear
    w3: Linear
    w2: Linear

    def __call__(self, x: Tensor) -> Tensor:
        """Return `(positions, dim)`."""
        gate = self.w1(x)
        activated = operation([gate], gate.elements, gate.itemsize, saves=[gate])
        del gate
        return self.w2(product(activated, self.w3(x)))


@dataclass(frozen=True)
class Block:
    """`TransformerBlock`."""

    attention_norm: Weight
    attention: Attention
    ffn_norm: Weight
    feed_forward: FeedForward

    def __call__(self, x: Tensor, length: int) -> Tensor:
        """Return `(positions, dim)`."""
        h = added(x, self.attention(rms_norm(x, self.attention_norm), length))
        return added(h, self.feed_forward(rms_norm(h, self.ffn_norm)))
