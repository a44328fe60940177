"""The voice that several recordings share, and which of them are someone else's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .results import SAME_VOICE
from .speaker import Embedding, centre

_FEWEST = 3
_MAJORITY = 0.6
"""Share of the recordings that must be of one voice for it to count as theirs."""


def shared_voice(embeddings: Sequence[Embedding | None]) -> list[Embedding | None]:
    """Return for each recording the voice of the others, as far as most of them have one and the same.

    Where fewer than three can be compared, or no voice is that of most, nobody can say who is wrong: None.
    """
    known = [number for number, embedding in enumerate(embeddings) if embedding is not None]
    voices: list[Embedding | None] = [None] * len(embeddings)
    if len(known) < _FEWEST:
        return voices
    together = np.stack([embedding for embedding in embeddings if embedding is not None])
    alike = together @ together.T >= SAME_VOICE
    most = alike[int(alike.sum(axis=1).argmax())]
    if most.sum() < max(_MAJORITY * len(known), 2):
        return voices
    total, members = together[most].sum(axis=0), set(np.flatnonzero(most).tolist())
    for place, number in enumerate(known):
        # A mean's direction is that of the sum.
        voices[number] = centre([total - together[place] if place in members else total])
    return voices
