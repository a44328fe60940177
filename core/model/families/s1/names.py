"""What the S1 family calls its tensors in `model.pth` (formats.md sections 1 and 2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPLIT_ATTENTION = re.compile(r"(.*\battention\.)w([qkv])\.(weight|bias)")
_PREFIX = "model."
_OTHER_MODEL = "audio_"


def stored_names(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """See `Family.stored_names`.

    A `model.` prefix is taken off, names containing `audio_` are skipped, and `wq`, `wk`, `wv` together
    are `wqkv`.
    """
    found: dict[str, tuple[str, ...]] = {}
    split: dict[str, dict[str, str]] = {}
    for name in names:
        if _OTHER_MODEL in name:
            continue
        own = name.removeprefix(_PREFIX)
        part = _SPLIT_ATTENTION.fullmatch(own)
        if part:
            split.setdefault(f"{part[1]}wqkv.{part[3]}", {})[part[2]] = name
        else:
            found[own] = (name,)
    for own, parts in split.items():
        if parts.keys() == {"q", "k", "v"} and own not in found:
            found[own] = tuple(parts[letter] for letter in "qkv")
        else:  # an incomplete layout: let the strict load name what is there
            found |= {name.removeprefix(_PREFIX): (name,) for name in parts.values()}
    return found
