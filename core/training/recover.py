"""Out of memory: the same work in smaller pieces, nothing lost and nothing repeated.

A micro-batch is computed in `pieces` pieces, 1 to begin with. When the device's memory does not suffice,
the number doubles, the gradients of the step so far are dropped, and the same step is computed again: half
the micro-batch, twice the accumulation, the same effective batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from ..errors import DeviceMemoryError
from ..events import Reporter

T = TypeVar("T")


class Pieces:
    """Into how many pieces each micro-batch is cut at present."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.count = 1

    def attempt(self, work: Callable[[int], T], largest: int, what: str) -> T:
        """Return `work(pieces)`, with twice the pieces after each out of memory.

        Args:
            work: may raise `torch.OutOfMemoryError`; called again, it begins anew.
            largest: clips of the largest micro-batch; more pieces than that change nothing.
            what: what is computed, for messages ("step 12").

        Raises:
            DeviceMemoryError: the memory does not suffice for a single clip.
        """
        while True:
            try:
                return work(self.count)
            except torch.OutOfMemoryError as error:
                reason = str(error).strip().splitlines()[0]
            # Outside of the handler, whose traceback still holds the tensors of the failed attempt.
            if self.count >= largest:
                raise DeviceMemoryError(
                    f"The device's memory does not suffice for one clip in {what}: {reason}",
                    "Shorter clips (--max-length), --checkpointing blocks, a preset of lower rank or another "
                    "card would help; fishtune gpus shows what else uses this one.",
                )
            self.count *= 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._reporter.warn(
                f"Out of memory in {what}: micro-batches are computed in {self.count} pieces from now on. "
                "The effective batch stays the same and no data is lost or repeated.",
                "A smaller --batch-tokens with more --accumulation avoids the failed attempts.",
            )
