"""`config.json` of the S2 family: a table for each of the two transformers (formats-s2.md section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from ....data_model import DataModel
from ....messages import Message, joined
from ...shape import Shape
from .. import flat_config
from ..flat_config import (
    DualARConfig,
    Heads,
    HeadWidth,
    Hidden,
    Layers,
    LocalHeads,
    Width,
    parse_config,
)

NESTED_TYPE = "fish_qwen3_omni"
FLAT_TYPE = "dual_ar"
_ALWAYS = {"scale_codebook_embeddings": True, "norm_fastlayer_input": True}
"""True of every nested configuration, which cannot say otherwise."""


class _Table(DataModel):
    """Keys that are null count as absent; others are allowed and mean nothing here."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        return {key: value for key, value in content.items() if value is not None}


class _Transformer(_Table):
    """What both transformers have; what is not given has the flat configuration's default."""

    n_layer: Layers
    n_local_heads: LocalHeads | None = None
    head_dim: HeadWidth | None = None
    intermediate_size: Hidden | None = None
    attention_qkv_bias: bool | None = None
    attention_o_bias: bool | None = None
    attention_qk_norm: bool | None = None
    rope_base: float | None = Field(default=None, gt=0, le=1e12)
    norm_eps: float | None = Field(default=None, gt=0, le=1)
    use_moe: bool = False


class _Slow(_Transformer):
    vocab_size: int = Field(ge=1, le=1 << 22)
    n_head: Heads
    dim: Width
    max_seq_len: int | None = Field(default=None, ge=1, le=1 << 20)
    tie_word_embeddings: bool | None = None
    initializer_range: float | None = Field(default=None, gt=0, le=1000)


class _Fast(_Transformer):
    vocab_size: Width
    """Entries of every codebook."""
    num_codebooks: int = Field(ge=1, le=128)
    n_head: Heads | None = None
    dim: Width | None = None
    text_dim: Width | None = None


_FLAT_NAMES = {"n_layer": "n_fast_layer", "vocab_size": "codebook_size", "num_codebooks": "num_codebooks"}
"""Keys of the fast transformer that a flat configuration does not call `fast_…`."""
_NOT_OF_THE_FAST = {"rope_base", "norm_eps", "text_dim", "use_moe"}


class OmniConfig(_Table):
    """The tables and keys of a nested `config.json` that decide what is computed."""

    text_config: _Slow
    audio_decoder_config: _Fast
    audio_encoder_config: Any = None

    @model_validator(mode="after")
    def _can_be_computed(self) -> OmniConfig:
        faults = self._faults()
        if faults:
            raise ValueError(joined(faults, "; "))
        return self

    def _faults(self) -> list[Message]:
        slow, fast = self.text_config, self.audio_decoder_config
        found = []
        if self.audio_encoder_config is not None:
            found.append(Message("it has an audio_encoder_config, and there is no encoder of sound here"))
        for name, part in (("text_config", slow), ("audio_decoder_config", fast)):
            if part.use_moe:
                found.append(Message("{name}.use_moe asks for a mixture of experts", name=name))
        flat = self._flat
        for key in ("rope_base", "norm_eps"):
            own, common = getattr(fast, key), getattr(flat, key)
            if own is not None and own != common:
                found.append(
                    Message(
                        "audio_decoder_config.{key} is {own:g} and text_config.{key} {common:g}, "
                        "which no engine computes alike",
                        key=key,
                        own=own,
                        common=common,
                    )
                )
        if fast.text_dim not in (None, slow.dim):
            found.append(
                Message(
                    "audio_decoder_config.text_dim is {own} and text_config.dim {dim}",
                    own=fast.text_dim,
                    dim=slow.dim,
                )
            )
        return found

    @property
    def _flat(self) -> DualARConfig:
        slow = self.text_config.model_dump(exclude_none=True, exclude={"use_moe"})
        fast = self.audio_decoder_config.model_dump(exclude_none=True, exclude=_NOT_OF_THE_FAST)
        renamed = {_FLAT_NAMES.get(key, f"fast_{key}"): value for key, value in fast.items()}
        return DualARConfig(**slow, **renamed, **_ALWAYS)

    @property
    def shape(self) -> Shape:
        """The shape that the tables describe, defaults resolved."""
        return self._flat.shape


def read_shape(content: Mapping[str, Any], source: str) -> Shape:
    """Return the shape that a nested configuration describes, or the flat one of a merged model.

    Args:
        source: where it came from, for the message.

    Raises:
        CheckpointError: values that make no model, or one that cannot be computed rightly; names all of them.
    """
    if content.get("model_type") == NESTED_TYPE:
        return parse_config(OmniConfig, content, source).shape
    return flat_config.read_shape(content, source)


def semantic_range(content: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return what a configuration says are the first and last semantic token; None where it says nothing."""
    if content.get("model_type") == NESTED_TYPE:
        return content.get("semantic_start_token_id"), content.get("semantic_end_token_id")
    return content.get("semantic_begin_id"), content.get("semantic_end_id")
