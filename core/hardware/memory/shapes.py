"""The weights of a DualAR model by module, without building it; names as in the state dict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ...model.shape import Shape, TransformerShape
from ...model.targets import match_targets


@dataclass(frozen=True)
class Module:
    """A module that holds weights.

    Args:
        inputs: features in; for an embedding its entries.
        outputs: features out.
    """

    name: str
    kind: Literal["linear", "embedding", "norm"]
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Number of weights, bias included."""
        if self.kind == "norm":
            return self.outputs
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)

    def adapter_weights(self, rank: int, dora: bool) -> int:
        """Number of weights of a LoRA adapter: A, B and with DoRA a magnitude a feature."""
        return rank * (self.inputs + self.outputs) + (self.outputs if dora else 0)


def modules(config: Shape) -> Iterator[Module]:
    """Yield every module with weights."""
    yield Module("embeddings", "embedding", config.vocab_size, config.dim)
    yield Module("codebook_embeddings", "embedding", config.codebook_size * config.num_codebooks, config.dim)
    yield from _stack("layers", config.slow)
    yield Module("norm", "norm", config.dim, config.dim)
    if not config.tie_word_embeddings:
        yield Module("output", "linear", config.dim, config.vocab_size)
    if config.fast_dim != config.dim:
        yield Module("fast_project_in", "linear", config.dim, config.fast_dim, bias=True)
    yield Module("fast_embeddings", "embedding", config.codebook_size, config.fast_dim)
    yield from _stack("fast_layers", config.fast)
    yield Module("fast_norm", "norm", config.fast_dim, config.fast_dim)
    yield Module("fast_output", "linear", config.fast_dim, config.codebook_size)


def _stack(prefix: str, shape: TransformerShape) -> Iterator[Module]:
    query_rows, key_rows = shape.n_head * shape.head_dim, shape.n_local_heads * shape.head_dim
    for number in range(shape.n_layer):
        block = f"{prefix}.{number}"
        attention, feed_forward = f"{block}.attention", f"{block}.feed_forward"
        yield Module(f"{attention}.wqkv", "linear", shape.dim, query_rows + 2 * key_rows, bias=shape.qkv_bias)
        yield Module(f"{attention}.wo", "linear", query_rows, shape.dim, bias=shape.o_bias)
        if shape.qk_norm:
            yield Module(f"{attention}.q_norm", "norm", shape.head_dim, shape.head_dim)
            yield Module(f"{attention}.k_norm", "norm", shape.head_dim, shape.head_dim)
        yield Module(f"{feed_forward}.w1", "linear", shape.dim, shape.intermediate_size)
        yield Module(f"{feed_forward}.w3", "linear", shape.dim, shape.intermediate_size)
        yield Module(f"{feed_forward}.w2", "linear", shape.intermediate_size, shape.dim)
        yield Module(f"{block}.attention_norm", "norm", shape.dim, shape.dim)
        yield Module(f"{block}.ffn_norm", "norm", shape.dim, shape.dim)


def adapted(config: Shape, targets: tuple[str, ...]) -> list[Module]:
    """Return the modules that get an adapter: those whose whole name a target matches.

    Raises:
        SettingsError: a target is not a regular expression.
    """
    adaptable = {module.name: module for module in modules(config) if module.kind != "norm"}
    matched = {name for names in match_targets(targets, adaptable).values() for name in names}
    return [module for name, module in adaptable.items() if name in matched]
