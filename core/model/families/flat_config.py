"""Flat `config.json`, most of whose keys may be absent (formats.md section 1).

That of S1, and that which the reference's merge of an S2 model writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...config.strict import parse
from ...data_model import DataModel
from ...errors import CheckpointError, SettingsError
from ...messages import joined
from ..shape import Shape, contradictions
from .file_names import CONFIG

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

# Bounds far above any real model, below what would exhaust memory or time.
Layers = Annotated[int, Field(ge=1, le=512)]
Heads = Annotated[int, Field(ge=1, le=1024)]
LocalHeads = Annotated[int, Field(ge=-1, le=1024)]
Width = Annotated[int, Field(ge=1, le=1 << 16)]
HeadWidth = Annotated[int, Field(ge=1, le=4096)]
Hidden = Annotated[int, Field(ge=1, le=1 << 19)]


class DualARConfig(DataModel):
    """The keys of a flat `config.json` and their defaults; other keys are allowed and mean nothing here.

    A key that is null counts as absent; only a null `head_dim` is `dim / n_head` and an absent one 64.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    vocab_size: int = Field(default=32000, ge=1, le=1 << 22)
    n_layer: Layers = 32
    n_head: Heads = 32
    n_local_heads: LocalHeads = -1
    """Key and value heads; −1: as many as heads."""
    dim: Width = 4096
    head_dim: HeadWidth | None = 64
    intermediate_size: Hidden | None = None
    """None: 2/3 · 4 · dim, rounded up to a multiple of 256."""
    rope_base: float = Field(default=10000, gt=0, le=1e12)
    norm_eps: float = Field(default=1e-5, gt=0, le=1)
    max_seq_len: int = Field(default=2048, ge=1, le=1 << 20)
    tie_word_embeddings: bool = True
    attention_qkv_bias: bool = False
    attention_o_bias: bool = False
    attention_qk_norm: bool = False
    codebook_size: Width = 160
    num_codebooks: int = Field(default=4, ge=1, le=128)
    initializer_range: float = Field(default=0.02, gt=0, le=1000)
    scale_codebook_embeddings: bool = False
    norm_fastlayer_input: bool = False
    n_fast_layer: Layers = 4
    # None: as in the slow transformer.
    fast_dim: Width | None = None
    fast_n_head: Heads | None = None
    fast_n_local_heads: LocalHeads | None = None
    fast_head_dim: HeadWidth | None = None
    fast_intermediate_size: Hidden | None = None
    fast_attention_qkv_bias: bool | None = None
    fast_attention_o_bias: bool | None = None
    fast_attention_qk_norm: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if value is not None or key == "head_dim"}

    @model_validator(mode="after")
    def _makes_a_model(self) -> DualARConfig:
        faults = contradictions(self.shape)
        if faults:
            raise ValueError(joined(faults, "; "))
        return self

    @property
    def shape(self) -> Shape:
        """The shape that the keys describe, defaults resolved."""
        n_local_heads = self.n_head if self.n_local_heads == -1 else self.n_local_heads
        head_dim = self.head_dim or self.dim // self.n_head
        intermediate_size = self.intermediate_size or _default_intermediate_size(self.dim)
        fast_n_head = self.fast_n_head or self.n_head
        fast_n_local_heads = _given(self.fast_n_local_heads, n_local_heads)
        return Shape(
            vocab_size=self.vocab_size,
            n_layer=self.n_layer,
            n_head=self.n_head,
            n_local_heads=n_local_heads,
            dim=self.dim,
            head_dim=head_dim,
            intermediate_size=intermediate_size,
            rope_base=float(self.rope_base),
            norm_eps=float(self.norm_eps),
            max_seq_len=self.max_seq_len,
            tie_word_embeddings=self.tie_word_embeddings,
            attention_qkv_bias=self.attention_qkv_bias,
            attention_o_bias=self.attention_o_bias,
            attention_qk_norm=self.attention_qk_norm,
            codebook_size=self.codebook_size,
            num_codebooks=self.num_codebooks,
            initializer_range=float(self.initializer_range),
            scale_codebook_embeddings=self.scale_codebook_embeddings,
            norm_fastlayer_input=self.norm_fastlayer_input,
            n_fast_layer=self.n_fast_layer,
            fast_dim=self.fast_dim or self.dim,
            fast_n_head=fast_n_head,
            fast_n_local_heads=fast_n_head if fast_n_local_heads == -1 else fast_n_local_heads,
            fast_head_dim=self.fast_head_dim or head_dim,
            fast_intermediate_size=self.fast_intermediate_size or intermediate_size,
            fast_attention_qkv_bias=_given(self.fast_attention_qkv_bias, self.attention_qkv_bias),
            fast_attention_o_bias=_given(self.fast_attention_o_bias, self.attention_o_bias),
            fast_attention_qk_norm=_given(self.fast_attention_qk_norm, self.attention_qk_norm),
        )


def _given(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def _default_intermediate_size(dim: int) -> int:
    size = int(2 * 4 * dim / 3)
    return size + -size % 256


def read_shape(content: Mapping[str, Any], source: str) -> Shape:
    """Return the shape that the keys of a flat `config.json` describe.

    Args:
        source: where they came from, for the message.

    Raises:
        CheckpointError: values that make no model; names all of them.
    """
    return parse_config(DualARConfig, content, source).shape


def parse_config(model: type[Model], content: Mapping[str, Any], source: str) -> Model:
    """Return the content of a configuration as `model`.

    Raises:
        CheckpointError: values that make no model; names all of them.
    """
    try:
        return parse(model, dict(content), source)
    except SettingsError as error:
        raise CheckpointError(
            error.message, "Download the checkpoint again; {file} should not be edited.", file=CONFIG
        ) from error
