"""What a run watches itself for: a loss that no longer falls, and held-out losses that rise.

Guards take numbers and return what is worth saying. Their state is a plain dict, kept in checkpoints, so
that a resumed run says the same at the same steps.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

OVERFITTING_CHECKS = 3
"""Validations in a row above the best one after which overfitting is reported."""
PLATEAU_CHECKS = 5
"""Validation intervals that are compared with the same number before them."""
PLATEAU_IMPROVEMENT = 0.005
"""Share by which the training loss must have fallen over that time."""


@dataclass
class HeldOutGuard:
    """Follows the held-out loss: the best step so far, and how many checks ago it was."""

    best_loss: float = math.inf
    best_step: int = 0
    checks_since_best: int = 0

    def observe(self, step: int, loss: float) -> bool:
        """Take a held-out loss; return whether overfitting is to be reported, once each time it begins."""
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.checks_since_best = loss, step, 0
        else:
            self.checks_since_best += 1
        return self.checks_since_best == OVERFITTING_CHECKS

    def exhausted(self, patience: int | None) -> bool:
        """Return whether so many checks have passed without improvement that the run is to stop early."""
        return patience is not None and self.checks_since_best >= patience

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return asdict(self)


@dataclass
class PlateauGuard:
    """Follows the training loss between validations: whether it still falls."""

    means: deque[float] = field(default_factory=lambda: deque(maxlen=2 * PLATEAU_CHECKS))
    total: float = 0.0
    count: int = 0
    reported: bool = False

    def add(self, loss: float) -> None:
        """Take the loss of a step."""
        self.total += loss
        self.count += 1

    def observe(self) -> bool:
        """Close an interval; return whether a plateau is to be reported now (once each time it begins)."""
        if self.count == 0:
            return False
        self.means.append(self.total / self.count)
        self.total, self.count = 0.0, 0
        if len(self.means) < 2 * PLATEAU_CHECKS:
            return False
        means = list(self.means)
        before, lately = sum(means[:PLATEAU_CHECKS]), sum(means[PLATEAU_CHECKS:])
        flat = lately > before * (1 - PLATEAU_IMPROVEMENT)
        news = flat and not self.reported
        self.reported = flat
        return news

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "means": list(self.means),
            "total": self.total,
            "count": self.count,
            "reported": self.reported,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PlateauGuard:
        """Return the guard that `state_dict` described."""
        means = deque(state["means"], maxlen=2 * PLATEAU_CHECKS)
        return cls(means, state["total"], state["count"], state["reported"])
