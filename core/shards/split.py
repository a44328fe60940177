"""The held-out split: which utterances are kept for validation.

An utterance is held out if the hash of its content falls under the share, so its side depends on nothing
but itself: adding, removing or renaming files moves no other clip. Where that would leave a speaker without
any held-out clip, the one with the lowest hash is taken; only such a stand-in can change its side when a
clip with a lower hash joins the speaker. Clips with the same content always share a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..randomness import UnsignedArray, hashed, uniform

IntArray = npt.NDArray[np.int64]
_PURPOSE = 0x5EED_01D0  # keeps these draws apart from all others made of the same hashes


@dataclass(frozen=True)
class Split:
    """Numbers of the utterances of either side, ascending."""

    training: IntArray
    held_out: IntArray


def split(speakers: npt.NDArray[np.integer], content: UnsignedArray, share: float) -> Split:
    """Return the split of utterances given by their speaker numbers `(n,)` and content hashes `(n,)`.

    At least one clip a speaker is held out, and at least one is trained on: a speaker whose clips are all
    the same one has none held out. A `share` of 0 holds out nothing.
    """
    numbers = np.arange(len(speakers), dtype=np.int64)
    if share == 0 or len(numbers) == 0:
        return Split(training=numbers, held_out=numbers[:0])
    draw = uniform(hashed(_PURPOSE, content))
    chosen = draw < share
    order = np.argsort(speakers, kind="stable")
    starts = np.flatnonzero(np.diff(speakers[order], prepend=-1))
    for own in np.split(order, starts[1:]):
        own_draw = draw[own]
        if not chosen[own].any():
            chosen[own[own_draw == own_draw.min()]] = True
        if chosen[own].all():
            chosen[own[own_draw == own_draw.max()]] = False
    return Split(training=numbers[~chosen], held_out=numbers[chosen])
