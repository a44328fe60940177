"""How codes are drawn: what a caller asks for, and the rule by which a family answers. Starts no torch.

`R` rows (texts at once), `K` codebooks, `W` frames that a rule looks back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn. Each family has its own usual values (`Family.sampling`)."""

    temperature: float
    top_p: float
    """Draw from the most probable entries whose probabilities together do not exceed this."""
    repetition_penalty: float | None = None
    """Above 1: what came a short while ago is less probable; None = the family has no such rule."""
    greedy: bool = False
    """Take the largest logit; nothing else counts then."""
    top_k: int | None = None
    """Draw from at most so many of the most probable entries; None = no limit."""


@dataclass(frozen=True)
class Recent:
    """The newest frames of each row, the newest first.

    Attributes:
        frames: token and codes of each, `(R, W, K+1)`. Where a row has fewer than W, its first stands again;
            where it has none, any that could be.
        numbers: which frame of its text each is, from 0, `(R, W)`; all −1 where the row has none.
    """

    frames: Tensor
    numbers: Tensor


class SamplingRule(Protocol):
    """Picks the numbers of a frame from logits, for all rows at once; no row's depend on another's.

    It is run inside of CUDA graphs: it keeps nothing from call to call, asks the device for no value, and the
    shapes of what it computes follow from those of its arguments alone.

    Its `random` numbers are float64, evenly from 0 to below 1; each row's follow from its seed.
    """

    window: int
    """How many frames it looks back (W), 1 at least."""

    def token(self, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:
        """Return the frames' tokens `(R,)` from logits `(R, V)` and two random numbers each, `(R, 2)`."""
        ...

    def code(self, codebook: int, logits: Tensor, random: Tensor, recent: Recent) -> Tensor:
        """Return codes `(R,)` of a codebook ≥ 1 from logits `(R, entries)` and random numbers `(R,)`."""
        ...
