"""What the S2 family calls its tensors (formats-s2.md section 1, *Weight names*)."""

from __future__ import annotations

from collections.abc import Iterable

from ..names import flat_names, joined_attention

_SLOW = "text_model.model."
_HEAD = "text_model.lm_head."
_FAST = "audio_decoder."
_CODEBOOKS = "codebook_embeddings."
"""Stored with the fast transformer, and read by the slow one."""


def stored_names(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """See `Family.stored_names`: published names, or flat ones as the reference's merge writes them."""
    stored = list(names)
    if not any(name.startswith(("text_model.", _FAST)) for name in stored):
        return flat_names(stored)
    return joined_attention((own_name(name), name) for name in stored)


def own_name(name: str) -> str:
    """Return what the model calls a tensor of a published file; other names stay."""
    if name.startswith(_SLOW):
        return name.removeprefix(_SLOW)
    if name.startswith(_HEAD):
        return f"output.{name.removeprefix(_HEAD)}"
    if name.startswith(_FAST):
        own = name.removeprefix(_FAST)
        return own if own.startswith(_CODEBOOKS) else f"fast_{own}"
    return name


def published_name(own: str) -> str:
    """Return what a published file calls a tensor of the model."""
    if own.startswith("output."):
        return _HEAD + own.removeprefix("output.")
    if own.startswith(_CODEBOOKS):
        return _FAST + own
    return _FAST + own.removeprefix("fast_") if own.startswith("fast_") else _SLOW + own
