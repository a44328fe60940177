"""How codes are drawn: what a caller asks for, and the rule by which a family answers. Starts no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How codes are drawn. Each family has its own usual values (`Family.sampling`)."""

    temperature: float
    top_p: float
    """Draw from the smallest set of most probable entries that reaches this probability."""
    repetition_penalty: float
    """Above 1: what came a short while ago is less probable. Some families have no such rule."""
    greedy: bool = False
    """Take the largest logit; nothing else counts then."""
    seed: int = 0
    """The same seed draws the same codes on the same kind of device."""


class SamplingRule(Protocol):
    """Picks the numbers of a frame from logits; one is made per text, as it holds the random numbers.

    `frames` are those before this one, each `(K+1,)`: its token and its codes.
    """

    def token(self, logits: Tensor, frames: Sequence[Tensor]) -> Tensor:
        """Return the token of row 0, without dimensions, from logits `(V,)`."""
        ...

    def code(self, codebook: int, logits: Tensor, frames: Sequence[Tensor]) -> Tensor:
        """Return the code of a codebook ≥ 1, without dimensions, from logits `(entries,)`."""
        ...
