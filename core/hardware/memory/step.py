"""A training step of `core/stages/train`, replayed on a ledger.

The order is that of `stages.train.loss.loss_sums` and of the engine's backward pass. Blocks of one stack
differ only in their adapters, so one of each kind is replayed, and what the others keep is counted in one
piece.
From block to block of the backward pass, kept memory shrinks and gradients grow by the same amounts; so it
is at its most in the first block that it reaches or in the last.

Attention is fused wherever torch has a fused kernel for the inputs (see `replay.Attention`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from ...model.shape import Shape, TransformerShape
from .ledger import (
    BF16,
    BOOL,
    FLOAT32,
    INT64,
    Ledger,
    Node,
    Part,
    Tensor,
    Weight,
    backward,
    checkpoint,
    joined,
    leaf,
    operation,
)
from .replay import (
    Adapter,
    Attention,
    Block,
    FeedForward,
    Linear,
    added,
    cast,
    keeping_result,
    rms_norm,
    scaled,
)
from .shapes import adapted, modules

LOGITS_PER_CHUNK: Final = 2**25
"""Of `training.loss`, which needs torch; a test holds them together."""


@dataclass(frozen=True)
class TrainingPlan:
    """What the memory of a training step depends on, beside the model's shape.

    Args:
        tokens: columns of the largest micro-batch, padding included.
        longest: columns of its rows.
        frames: columns of it whose codes are learnt; those of reference utterances are not.
        targets: patterns of the modules that get adapters.
        accumulated: gradients of earlier micro-batches are there when a micro-batch is computed.
        distributed: several processes train together, and torch keeps a second copy of all gradients to
            exchange (DistributedDataParallel's buckets).
    """

    tokens: int
    longest: int
    frames: int
    method: Literal["lora", "full"]
    precision: Literal["bf16", "float32"]
    checkpointing: Literal["none", "blocks"]
    accumulated: bool
    rank: int = 0
    targets: tuple[str, ...] = ()
    dropout: bool = False
    dora: bool = False
    distributed: bool = False


def replay_training(config: Shape, plan: TrainingPlan) -> Ledger:
    """Return the ledger of an optimizer step that is not the first."""
    step = _Step(config, plan)
    step.run()
    return step.ledger


class _Step:
    """A model and what is done with it."""

    def __init__(self, config: Shape, plan: TrainingPlan) -> None:
        self.config, self.plan = config, plan
        self.full = plan.method == "full"
        self.autocast = self.full and plan.precision == "bf16"
        self.itemsize = BF16 if plan.precision == "bf16" and not self.full else FLOAT32
        self.shapes = {module.name: module for module in modules(config)}
        self.adapted = set() if self.full else {module.name for module in adapted(config, plan.targets)}
        self.weights: dict[str, Weight] = {}
        self.left: list[object] = []
        """Gradients that stay until the end."""
        self.ledger = Ledger()
        # Adapters are small: their gradients are counted as always there.
        self.ledger.has_gradients = plan.accumulated or not self.full

    def run(self) -> None:
        ledger = self.ledger
        resident = self._resident()
        with ledger.under(Part.LOGITS):
            loss = self._loss()
            backward(loss, Tensor(ledger, 1, FLOAT32))
        del resident

    def _resident(self) -> list[object]:
        """Return what is there all the time."""
        plan, ledger = self.plan, self.ledger
        weights = sum(module.weights for module in self.shapes.values())
        trained = weights
        if not self.full:
            trained = sum(self.shapes[name].adapter_weights(plan.rank, plan.dora) for name in self.adapted)
        table = self.config.max_seq_len * self.config.head_dim * BF16
        held = [ledger.store(weights * self.itemsize + table, Part.WEIGHTS)]
        if self.autocast:  # keeps its bfloat16 copy of every matrix until the step is done
            matrices = sum(module.weights for module in self.shapes.values() if module.kind == "linear")
            if self.config.tie_word_embeddings:
                matrices += self.shapes["embeddings"].weights
            held.append(ledger.store(matrices * BF16, Part.WEIGHTS))
        if not self.full:
            held.append(ledger.store(trained * FLOAT32, Part.ADAPTERS))
        if ledger.has_gradients:
            held.append(ledger.store(trained * FLOAT32, Part.GRADIENTS))
        if plan.distributed:
            held.append(ledger.store(trained * FLOAT32, Part.GRADIENTS))
        held.append(ledger.store(2 * trained * FLOAT32, Part.OPTIMIZER))  # AdamW's two moments
        return list(held)

    def _loss(self) -> Tensor:
        """`loss_sums`, and the weighted sum of both losses."""
        config, plan, ledger = self.config, self.plan, self.ledger
        with ledger.under(Part.ACTIVATIONS):
            batch = ledger.store(2 * (config.num_codebooks + 1) * plan.tokens * INT64)
            embedded = self._embed_columns()
            hidden = self._stack("layers", config.slow, embedded, plan.longest)
            del embedded
        with ledger.under(Part.LOGITS):
            supervised = _picked(hidden, plan.frames, config.dim)
            base = _chunked_cross_entropy(self._token_logits, supervised, config.dim, config.vocab_size)
            del supervised
        with ledger.under(Part.FAST):
            first = self._fast_input(_picked(hidden, plan.frames, config.dim))
            later = self._embedding("fast_embeddings", plan.frames * (config.num_codebooks - 1))
            frames = joined([cast(first, later.itemsize), later])
            del first, later
            codes = self._stack("fast_layers", config.fast, frames, config.num_codebooks)
            del frames
        with ledger.under(Part.LOGITS):
            semantic = _chunked_cross_entropy(self._code_logits, codes, config.fast_dim, config.codebook_size)
        del codes, hidden, batch
        return added(base, semantic)

    # layers by their name in the model

    def _embed_columns(self) -> Tensor:
        """`DualAR.embed`."""
        config, tokens = self.config, self.plan.tokens
        text = self._embedding("embeddings", tokens)
        codes = Tensor(self.ledger, text.elements, text.itemsize)
        for _ in range(config.num_codebooks):
            codes = added(codes, self._embedding("codebook_embeddings", tokens))
        columns = added(text, scaled(codes))  # 0 where there are no codes
        if config.scale_codebook_embeddings:
            columns = added(scaled(columns), columns)  # one or the other
        return columns

    def _embedding(self, name: str, positions: int) -> Tensor:
        shape, ledger = self.shapes[name], self.ledger
        ids = Tensor(ledger, positions, INT64)
        result = operation(
            [ids], positions * shape.outputs, self.itemsize, saves=[ids], weights=[self._weight(name)]
        )
        if name not in self.adapted:
            return result
        rank = self.plan.rank
        down = Weight(rank * shape.inputs, FLOAT32, trained=True)
        up = Weight(rank * shape.outputs, FLOAT32, trained=True)
        low = operation([ids], positions * rank, FLOAT32, saves=[ids], weights=[down])
        delta = operation([low], positions * shape.outputs, FLOAT32, saves=[low], weights=[up])
        return cast(added(result, scaled(delta)), result.itemsize)

    def _linear(self, name: str) -> Linear:
        shape = self.shapes[name]
        adapter = Adapter(self.plan.rank, self.plan.dropout, self.plan.dora) if name in self.adapted else None
        return Linear(shape.inputs, shape.outputs, self._weight(name), self.autocast, adapter)

    def _weight(self, name: str) -> Weight:
        if name not in self.weights:
            self.weights[name] = Weight(self.shapes[name].weights, self.itemsize, trained=self.full)
        return self.weights[name]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return rms_norm(x, self._weight(name))

    def _token_logits(self, hidden: Tensor) -> Tensor:
        config = self.config
        normalised = self._norm(hidden, "norm")
        if not config.tie_word_embeddings:
            return self._linear("output")(normalised)
        return Linear(config.dim, config.vocab_size, self._weight("embeddings"), self.autocast)(normalised)

    def _code_logits(self, hidden: Tensor) -> Tensor:
        return self._linear("fast_output")(self._norm(hidden, "fast_norm"))

    def _fast_input(self, hidden: Tensor) -> Tensor:
        if self.config.norm_fastlayer_input:
            hidden = self._norm(hidden, "norm")
        return self._linear("fast_project_in")(hidden) if "fast_project_in" in self.shapes else hidden

    def _block(self, prefix: str, shape: TransformerShape) -> Block:
        attention, feed_forward = f"{prefix}.attention", f"{prefix}.feed_forward"
        return Block(
            self._weight(f"{prefix}.attention_norm"),
            Attention(
                shape.n_head,
                shape.n_local_heads,
                shape.head_dim,
                self._linear(f"{attention}.wqkv"),
                self._linear(f"{attention}.wo"),
                self._weight(f"{attention}.q_norm") if shape.qk_norm else None,
                self._weight(f"{attention}.k_norm") if shape.qk_norm else None,
            ),
            self._weight(f"{prefix}.ffn_norm"),
            FeedForward(*(self._linear(f"{feed_forward}.{name}") for name in ("w1", "w3", "w2"))),
        )

    # stacks of blocks

    def _stack(self, prefix: str, shape: TransformerShape, x: Tensor, length: int) -> Tensor:
        """Return what a stack of blocks makes of `x`, rows of `length` positions."""
        ledger, names = self.ledger, [f"{prefix}.{number}" for number in range(shape.n_layer)]
        *others, last = (self._layer(name, shape, length) for name in names)
        kept, flows = 0, x.source is not None
        known: dict[object, tuple[int, bool]] = {}
        for name, layer in zip(names, others, strict=False):
            kind = flows, frozenset(n.removeprefix(name) for n in self.adapted if n.startswith(f"{name}."))
            if kind not in known:
                known[kind] = _kept(layer, x, needs_gradient=flows)
            size, flows = known[kind]
            kept += size
        rest = [ledger.store(kept)]
        result = last(leaf(ledger, x.elements, x.itemsize, needs_gradient=flows))
        if result.source is None:
            return result
        root = Tensor(ledger, 0, result.itemsize, source=result.source)
        shape_of_x = x.elements, x.itemsize
        passes = x.source is not None
        between = sum(self._gradient_size(name) for name in names[1:-1])

        def formula(incoming: list[Tensor]) -> list[Tensor]:
            gradients = backward(root, incoming.pop())
            rest.clear()
            if between:
                self.left.append(ledger.store(between, Part.GRADIENTS))
            if others:
                start = leaf(ledger, *shape_of_x, needs_gradient=passes)
                above = gradients or [Tensor(ledger, *shape_of_x)]
                del gradients  # nothing here may hold what the pass is done with
                gradients = backward(others[0](start), above.pop())
            return gradients

        result.source = Node(ledger, [x], formula)
        return result

    def _layer(self, name: str, shape: TransformerShape, length: int) -> Callable[[Tensor], Tensor]:
        block = self._block(name, shape)
        if self.plan.checkpointing == "none":
            return lambda x: block(x, length)
        return lambda x: checkpoint(lambda inner: block(inner, length), x)

    def _gradient_size(self, name: str) -> int:
        """Return the bytes that the backward pass of a block leaves as gradients."""
        if self.ledger.has_gradients:
            return 0
        return sum(
            shape.weights * FLOAT32 for shape in self.shapes.values() if shape.name.startswith(f"{name}.")
        )


def _kept(layer: Callable[[Tensor], Tensor], x: Tensor, *, needs_gradient: bool) -> tuple[int, bool]:
    """Return the bytes that a layer keeps of an input like `x`, and whether its result needs a gradient."""
    scratch = Ledger()
    result = layer(leaf(scratch, x.elements, x.itemsize, needs_gradient=needs_gradient))
    return scratch.live - result.size, result.source is not None


def _picked(hidden: Tensor, rows: int, dim: int) -> Tensor:
    """Return `rows` rows chosen by a mask, whose positions are saved."""
    positions = hidden.ledger.store(rows * INT64)
    return operation([hidden], rows * dim, hidden.itemsize, saves=[positions])


def _chunked_cross_entropy(
    head: Callable[[Tensor], Tensor], hidden: Tensor, dim: int, classes: int
) -> Tensor:
    """`stages.train.loss.chunked_cross_entropy`: one chunk stands for all."""
    ledger, passes = hidden.ledger, hidden.source is not None
    rows = min(hidden.elements // dim, max(1, LOGITS_PER_CHUNK // classes))
    chunk = leaf(ledger, rows * dim, hidden.itemsize, hidden.storage, needs_gradient=passes)
    loss = checkpoint(lambda inner: _cross_entropy(head(inner)), chunk)
    if loss.source is None:
        return loss
    root = Tensor(ledger, 0, FLOAT32, source=loss.source)
    elements, itemsize, others = hidden.elements, hidden.itemsize, hidden.size - chunk.size

    def formula(incoming: list[Tensor]) -> list[Tensor]:
        waiting = [ledger.store(others if passes else 0)], backward(root, incoming.pop())
        # The gradients of all chunks are joined once the last is there.
        joined_gradients = [Tensor(ledger, elements, itemsize)] if passes else []
        del waiting
        return joined_gradients

    loss.source = Node(ledger, [hidden], formula, [hidden.storage])
    return loss


def _cross_entropy(logits: Tensor) -> Tensor:
    """The summed cross-entropy and the share among the top five."""
    wide = cast(logits, FLOAT32)
    del logits
    log_softmax = keeping_result(wide)
    loss = operation([log_softmax], 1, FLOAT32, saves=[log_softmax])
    del log_softmax
    wide.ledger.spike(wide.elements * BOOL)
    return loss
