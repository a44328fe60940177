"""Names of tensors that families share: the flat ones of `model.pth`, and attention stored in three parts."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPLIT_ATTENTION = re.compile(r"(.*\battention\.)w([qkv])\.(weight|bias)")
_PREFIX = "model."
_OTHER_MODEL = "audio_"


def flat_names(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the stored names of every tensor of a `model.pth` (formats.md sections 1 and 2).

    A `model.` prefix is taken off, and names containing `audio_` are skipped: they are of another model.
    """
    return joined_attention((name.removeprefix(_PREFIX), name) for name in names if _OTHER_MODEL not in name)


def joined_attention(names: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the stored names of every tensor, of which `wq`, `wk`, `wv` together are `wqkv`.

    Args:
        names: our own name of every stored one, and the stored one.
    """
    found: dict[str, tuple[str, ...]] = {}
    split: dict[str, dict[str, tuple[str, str]]] = {}
    for own, stored in names:
        part = _SPLIT_ATTENTION.fullmatch(own)
        if part:
            split.setdefault(f"{part[1]}wqkv.{part[3]}", {})[part[2]] = (own, stored)
        else:
            found[own] = (stored,)
    for joined, parts in split.items():
        if parts.keys() == {"q", "k", "v"} and joined not in found:
            found[joined] = tuple(parts[letter][1] for letter in "qkv")
        else:  # an incomplete layout: let the strict load name what is there
            found |= {own: (stored,) for own, stored in parts.values()}
    return found
