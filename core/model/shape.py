"""Shape of a DualAR model, whatever file said it. Imports no torch: estimates use it."""

from __future__ import annotations

from dataclasses import dataclass

from ..messages import Message


@dataclass(frozen=True)
class TransformerShape:
    """Shape of one of the two transformers."""

    n_layer: int
    dim: int
    n_head: int
    n_local_heads: int
    """Key and value heads."""
    head_dim: int
    intermediate_size: int
    qkv_bias: bool
    o_bias: bool
    qk_norm: bool
    norm_eps: float
    rope_base: float


@dataclass(frozen=True)
class Shape:
    """Shape of a DualAR model, all defaults resolved. A family's configuration reader makes it."""

    vocab_size: int
    n_layer: int
    n_head: int
    n_local_heads: int
    dim: int
    head_dim: int
    intermediate_size: int
    rope_base: float
    norm_eps: float
    max_seq_len: int
    """Longest sequence in columns, prompt and generated frames together."""
    tie_word_embeddings: bool
    """Token logits come from the word embedding instead of a head of their own."""
    attention_qkv_bias: bool
    attention_o_bias: bool
    attention_qk_norm: bool
    codebook_size: int
    """Entries of every codebook as the model sees them."""
    num_codebooks: int
    initializer_range: float
    scale_codebook_embeddings: bool
    """Divide the embedding of a semantic position by √(num_codebooks + 1)."""
    norm_fastlayer_input: bool
    """The fast transformer reads the slow hidden state after the final norm."""
    n_fast_layer: int
    fast_dim: int
    fast_n_head: int
    fast_n_local_heads: int
    fast_head_dim: int
    fast_intermediate_size: int
    fast_attention_qkv_bias: bool
    fast_attention_o_bias: bool
    fast_attention_qk_norm: bool

    @property
    def slow(self) -> TransformerShape:
        """Shape of the slow transformer, which reads the sequence."""
        return TransformerShape(
            n_layer=self.n_layer,
            dim=self.dim,
            n_head=self.n_head,
            n_local_heads=self.n_local_heads,
            head_dim=self.head_dim,
            intermediate_size=self.intermediate_size,
            qkv_bias=self.attention_qkv_bias,
            o_bias=self.attention_o_bias,
            qk_norm=self.attention_qk_norm,
            norm_eps=self.norm_eps,
            rope_base=self.rope_base,
        )

    @property
    def fast(self) -> TransformerShape:
        """Shape of the fast transformer, which reads the codes of one frame."""
        return TransformerShape(
            n_layer=self.n_fast_layer,
            dim=self.fast_dim,
            n_head=self.fast_n_head,
            n_local_heads=self.fast_n_local_heads,
            head_dim=self.fast_head_dim,
            intermediate_size=self.fast_intermediate_size,
            qkv_bias=self.fast_attention_qkv_bias,
            o_bias=self.fast_attention_o_bias,
            qk_norm=self.fast_attention_qk_norm,
            norm_eps=self.norm_eps,
            rope_base=self.rope_base,
        )


LARGEST_TABLE = 1 << 26
"""Entries of the table of rotary angles, which is built whole: positions times channels of a head."""


def contradictions(shape: Shape) -> list[Message]:
    """Return what makes no model of sizes that are sound one by one, one phrase each."""
    found = []
    for name, part in (("", shape.slow), ("fast_", shape.fast)):
        if part.n_local_heads < 1 or part.n_head % part.n_local_heads:
            found.append(
                Message(
                    "{prefix}n_head {heads} is not a multiple of {prefix}n_local_heads {local_heads}",
                    prefix=name,
                    heads=part.n_head,
                    local_heads=part.n_local_heads,
                )
            )
        if part.head_dim % 2 or part.head_dim < 2:
            found.append(
                Message(
                    "{prefix}head_dim {width} is odd, and rotary embeddings need pairs",
                    prefix=name,
                    width=part.head_dim,
                )
            )
    if shape.max_seq_len * shape.head_dim > LARGEST_TABLE:
        found.append(
            Message(
                "max_seq_len {length} times head_dim {width} is more than any model has",
                length=shape.max_seq_len,
                width=shape.head_dim,
            )
        )
    return found
