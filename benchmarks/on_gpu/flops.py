"""Model FLOPs of a training step, and what a card could do: the two sides of model FLOPs utilisation.

MFU is the share of a card's peak that the model's own arithmetic takes (Chowdhery et al., PaLM, 2022,
appendix B). What is computed twice to save memory counts once, so that recomputing lowers it. A matrix of P
weights costs 2P operations per token forward, 2P for the gradient of its input, and 2P for its own gradient
(Kaplan et al., Scaling Laws, 2020, section 2.1); here each of the three counts only where it is needed.
Look-ups, norms, activations, the loss and the optimizer count as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fishtune.core.config.presets import LoraPreset
from fishtune.core.model.shape import Shape, TransformerShape
from fishtune.core.model.targets import match_targets

PEAKS = {
    "B200": 2250e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
    "L4": 121e12,
    "A10": 125e12,
}
"""Peak of dense bfloat16 products with float32 sums, operations per second, by a part of the card's name: the
first that fits counts. From NVIDIA's data sheets, whose larger numbers are for matrices of half zeros."""


def peak_of(card: str) -> float | None:
    """Return the peak of a card by its name, operations per second; None where it is not known."""
    words = card.replace("-", " ")
    return next((peak for name, peak in PEAKS.items() if f" {name} " in f" {words} "), None)


@dataclass(frozen=True)
class Work:
    """What a step computes.

    Attributes:
        lengths: tokens of every sequence, padding left out.
        supervised: positions whose next token is learnt.
        frames: positions whose codes are learnt.
    """

    lengths: Sequence[int]
    supervised: int
    frames: int


@dataclass(frozen=True)
class _Product:
    """A product with a matrix of weights; without a name one of activations with each other."""

    name: str
    inputs: int
    outputs: int
    positions: float

    @property
    def forward(self) -> float:
        return 2.0 * self.inputs * self.outputs * self.positions


def step_flops(config: Shape, preset: LoraPreset, work: Work) -> float:
    """Return the operations of one optimizer step: forward, and what of the backward pass is needed."""
    # Causal: the query at position t sees t keys.
    pairs = sum(length * (length + 1) / 2 for length in work.lengths)
    slow = _stack("layers", config.n_layer, config.slow, sum(work.lengths), pairs)
    tokens, frames, codebooks = sum(work.lengths), work.frames, config.num_codebooks
    text, text_trained = _look_ups("embeddings", config.dim, tokens, preset)
    codes, codes_trained = _look_ups("codebook_embeddings", config.dim, tokens * codebooks, preset)
    earlier, earlier_trained = _look_ups("fast_embeddings", config.fast_dim, frames * (codebooks - 1), preset)
    total, reached = _cost(slow, preset, text_trained or codes_trained)
    head = "embeddings" if config.tie_word_embeddings else "output"
    total += _cost([_Product(head, config.dim, config.vocab_size, work.supervised)], preset, reached)[0]
    if config.fast_dim != config.dim:
        projection = _Product("fast_project_in", config.dim, config.fast_dim, frames)
        cost, reached = _cost([projection], preset, reached)
        total += cost
    positions = frames * codebooks
    fast = _stack("fast_layers", config.n_fast_layer, config.fast, positions, positions * (codebooks + 1) / 2)
    fast.append(_Product("fast_output", config.fast_dim, config.codebook_size, positions))
    total += _cost(fast, preset, reached or earlier_trained)[0]
    return total + text + codes + earlier


def _look_ups(name: str, dim: int, positions: float, preset: LoraPreset) -> tuple[float, bool]:
    """Return the operations of look-ups, which only an embedding's adapter has, and whether it is trained."""
    trained = _is_trained(name, preset)
    has_adapter = trained and preset.method != "full"
    return 3 * 2.0 * preset.rank * dim * positions if has_adapter else 0.0, trained


def _cost(products: Iterable[_Product], preset: LoraPreset, reached: bool) -> tuple[float, bool]:
    """Return the operations of products in their order, and whether a gradient must go through them.

    Args:
        reached: whether something before them is trained, so that the first one's input needs a gradient.
    """
    total = 0.0
    for product in products:
        if not product.name:  # both of its factors are activations
            total += product.forward * (3 if reached else 1)
            continue
        total += product.forward * (2 if reached else 1)
        if _is_trained(product.name, preset):
            if preset.method == "full":
                total += product.forward
            else:
                down, up = (
                    2.0 * preset.rank * width * product.positions
                    for width in (product.inputs, product.outputs)
                )
                total += (3 if reached else 2) * down + 3 * up
            reached = True
    return total, reached


def _stack(name: str, layers: int, shape: TransformerShape, positions: float, pairs: float) -> list[_Product]:
    return [
        product for layer in range(layers) for product in _block(f"{name}.{layer}", shape, positions, pairs)
    ]


def _block(name: str, shape: TransformerShape, positions: float, pairs: float) -> Iterator[_Product]:
    rows = shape.n_head * shape.head_dim
    heads = shape.n_head + 2 * shape.n_local_heads
    yield _Product(f"{name}.attention.wqkv", shape.dim, heads * shape.head_dim, positions)
    yield _Product("", rows, 1, pairs)  # queries with keys
    yield _Product("", rows, 1, pairs)  # their weights with values
    yield _Product(f"{name}.attention.wo", rows, shape.dim, positions)
    for part in ("w1", "w3"):
        yield _Product(f"{name}.feed_forward.{part}", shape.dim, shape.intermediate_size, positions)
    yield _Product(f"{name}.feed_forward.w2", shape.intermediate_size, shape.dim, positions)


def _is_trained(name: str, preset: LoraPreset) -> bool:
    if preset.method == "full":
        return True
    return any(match_targets(preset.targets, [name]).values())
