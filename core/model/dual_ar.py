"""The DualAR transformer: a slow one over the sequence, a fast one over the codes of each frame.

`B` batch, `T` columns of a token matrix, `K` codebooks, `N` frames, `D` channels of the slow and `C` of
the fast transformer, `V` vocabulary, `S` codebook size. Training and generation use the same methods:
`embed`, the blocks, `token_logits`, `fast_input`, `codebook_logits`. Arithmetic and state-dict names:
formats.md section 2.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compute.exact import CrossEntropy, cross_entropy
from ..compute.layers import (
    Attention,
    FeedForward,
    LayerPast,
    RMSNorm,
    rotary_table,
    uninitialised_embedding,
)
from ..config.settings import Checkpointing
from .cache import Past
from .recompute import BlockRunner, run_block
from .shape import Shape, TransformerShape


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input."""

    def __init__(self, config: TransformerShape) -> None:
        super().__init__()
        self.attention = Attention(
            config.dim,
            config.n_head,
            config.n_local_heads,
            config.head_dim,
            qkv_bias=config.qkv_bias,
            o_bias=config.o_bias,
            qk_norm=config.qk_norm,
            norm_eps=config.norm_eps,
        )
        self.feed_forward = FeedForward(config.dim, config.intermediate_size)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(
        self, x: Tensor, rotary: Tensor, mask: Tensor | None = None, past: LayerPast | None = None
    ) -> Tensor:
        """Return `(B, T, D)`; arguments as in `Attention`."""
        h = x + self.attention(self.attention_norm(x), rotary, mask=mask, past=past)
        return cast(Tensor, h + self.feed_forward(self.ffn_norm(h)))


class DualAR(nn.Module):
    """The model: its tensors' names are those by which all the engine speaks of weights.

    Attributes:
        semantic_begin_id, semantic_end_id: ids of the semantic tokens of the lowest and highest code; they
            come from the tokenizer and decide which columns carry codes.
        checkpointing: what training computes again in the backward pass instead of keeping it.
        training_block: `recompute.run_block`, or a compiled one; training runs every block through it.
        training_cross_entropy: `compute.exact.cross_entropy`, or a compiled one.
    """

    def __init__(self, config: Shape, semantic_begin_id: int, semantic_end_id: int) -> None:
        super().__init__()
        self.config = config
        self.semantic_begin_id, self.semantic_end_id = semantic_begin_id, semantic_end_id
        self.checkpointing: Checkpointing = "none"
        self.training_block: BlockRunner = run_block
        self.training_cross_entropy: CrossEntropy = cross_entropy

        self.embeddings = uninitialised_embedding(config.vocab_size, config.dim)
        self.codebook_embeddings = uninitialised_embedding(
            config.codebook_size * config.num_codebooks, config.dim
        )
        self.layers = nn.ModuleList(TransformerBlock(config.slow) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = (
            None if config.tie_word_embeddings else nn.Linear(config.dim, config.vocab_size, bias=False)
        )

        self.fast_project_in = (
            nn.Linear(config.dim, config.fast_dim) if config.fast_dim != config.dim else None
        )
        self.fast_embeddings = uninitialised_embedding(config.codebook_size, config.fast_dim)
        self.fast_layers = nn.ModuleList(TransformerBlock(config.fast) for _ in range(config.n_fast_layer))
        self.fast_norm = RMSNorm(config.fast_dim, config.norm_eps)
        self.fast_output = nn.Linear(config.fast_dim, config.codebook_size, bias=False)

        # Tables, not weights: never in a checkpoint.
        slow_table = rotary_table(config.max_seq_len, config.head_dim, config.rope_base)
        fast_table = rotary_table(config.num_codebooks, config.fast_head_dim, config.rope_base)
        offsets = torch.arange(config.num_codebooks, device="cpu") * config.codebook_size
        self.rotary: Tensor
        self.fast_rotary: Tensor
        self.codebook_offsets: Tensor
        self.register_buffer("rotary", slow_table, persistent=False)
        self.register_buffer("fast_rotary", fast_table, persistent=False)
        self.register_buffer("codebook_offsets", offsets[:, None], persistent=False)

    def is_semantic(self, tokens: Tensor) -> Tensor:
        """Return where token ids (or labels) are semantic tokens, same shape, bool."""
        return (tokens >= self.semantic_begin_id) & (tokens <= self.semantic_end_id)

    def embed(self, tokens_BKT: Tensor) -> Tensor:
        """Return the embedding `(B, T, D)` of a token matrix `(B, K+1, T)`.

        Semantic columns add the embeddings of their K codes; with `scale_codebook_embeddings` their sum is
        divided by √(K+1).
        """
        tokens_BT, codes_BKT = tokens_BKT[:, 0], tokens_BKT[:, 1:]
        semantic_BT1 = self.is_semantic(tokens_BT)[..., None]
        text_BTD = self.embeddings(tokens_BT)
        # One codebook at a time: all at once would hold (B, K, T, D).
        codes_BTD = torch.zeros_like(text_BTD)
        for codebook in range(self.config.num_codebooks):
            codes_BTD = codes_BTD + self.codebook_embeddings(
                codes_BKT[:, codebook] + self.codebook_offsets[codebook]
            )
        x_BTD = text_BTD + codes_BTD.masked_fill(~semantic_BT1, 0)
        if self.config.scale_codebook_embeddings:
            x_BTD = torch.where(semantic_BT1, x_BTD / math.sqrt(self.config.num_codebooks + 1), x_BTD)
        return cast(Tensor, x_BTD)

    def slow(self, tokens_BKT: Tensor, past: Past | None = None) -> Tensor:
        """Return the slow hidden state `(B, T, D)`, before the final norm.

        Args:
            past: the columns before these; None = none came before.
        """
        return self._run(self.layers, self.embed(tokens_BKT), self.rotary, past)

    def token_logits(self, hidden: Tensor) -> Tensor:
        """Return the logits `(…, V)` of row 0 from slow hidden states `(…, D)`."""
        normalised = self.norm(hidden)
        if self.output is None:
            return F.linear(normalised, self.embeddings.weight)
        return cast(Tensor, self.output(normalised))

    def fast_input(self, hidden: Tensor) -> Tensor:
        """Return what the fast transformer reads first, `(…, C)`, from slow hidden states `(…, D)`."""
        if self.config.norm_fastlayer_input:
            hidden = self.norm(hidden)
        return hidden if self.fast_project_in is None else cast(Tensor, self.fast_project_in(hidden))

    def fast(self, x_NKC: Tensor, past: Past | None = None) -> Tensor:
        """Return the fast transformer's logits `(N, positions, S)` for inputs `(N, positions, C)`.

        Position 0 holds `fast_input`, position i ≥ 1 `fast_embeddings` of code i − 1; the logits at position
        i predict code i. `past` as in `slow`.
        """
        return self.codebook_logits(self._run(self.fast_layers, x_NKC, self.fast_rotary, past))

    def codebook_logits(self, hidden: Tensor) -> Tensor:
        """Return the logits `(…, S)` of a code from fast hidden states `(…, C)`."""
        return cast(Tensor, self.fast_output(self.fast_norm(hidden)))

    def fast_logits(self, fast_input_NC: Tensor, codes_NK: Tensor) -> Tensor:
        """Return the logits `(N, K, S)` of all codes of N frames, each given the codes before it.

        Args:
            fast_input_NC: `fast_input` of the columns that predict the frames, `(N, C)`.
            codes_NK: the frames' codes; the last is only predicted, never read.
        """
        earlier_NKC = self.fast_embeddings(codes_NK[:, :-1])
        x_NKC = torch.cat([fast_input_NC[:, None].type_as(earlier_NKC), earlier_NKC], dim=1)
        return self.fast(x_NKC)

    def _run(self, layers: nn.ModuleList, x: Tensor, table: Tensor, past: Past | None) -> Tensor:
        if past is not None:
            rotary, mask = table[past.positions], past.mask
            for number, layer in enumerate(layers):
                x = layer(x, rotary, mask, past.layer(number))
            return x
        learning = self.training and torch.is_grad_enabled()
        rotary = table[: x.shape[1]]
        for layer in layers:
            x = self.training_block(layer, x, rotary, self.checkpointing) if learning else layer(x, rotary)
        return x
