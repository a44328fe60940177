"""Out of memory: the same work in smaller pieces, nothing lost and nothing repeated.

A micro-batch is computed in `pieces` pieces, 1 to begin with. When the device's memory does not suffice,
the number doubles, the gradients of the step so far are dropped, and the same step is computed again: half
the micro-batch, twice the accumulation, the same effective batch.

The update itself has no pieces. Where the optimizer ran out of memory before it changed anything (its state
comes into being in the first update), it is tried once more with all unused memory given back; where weights
may be half updated, the run ends: its last checkpoint is the only state that is known to be good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor
from torch.optim import Optimizer

from ...compute.devices import empty_cache, is_out_of_memory
from ...errors import DeviceMemoryError
from ...events import Reporter
from ...messages import Message

T = TypeVar("T")

_HINT = Message(
    "This run can continue with --checkpointing blocks, on a card with more memory, or with "
    "less beside it (fishtune gpus shows what uses this one). A preset of lower rank or "
    "shorter clips (--max-length) need a run of their own: another --project."
)


class MicroBatchSplit:
    """Into how many pieces each micro-batch is cut at present."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.count = 1

    def attempt(self, work: Callable[[int], T], largest: int, what: str) -> T:
        """Return `work(pieces)`, with twice the pieces after each out of memory.

        Args:
            work: may run out of memory; called again, it begins anew.
            largest: clips of the largest micro-batch; more pieces than that change nothing.
            what: what is computed, for messages ("step 12").

        Raises:
            DeviceMemoryError: the memory does not suffice for a single clip.
        """
        while True:
            try:
                return work(self.count)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).strip().splitlines()[0]
            # Outside of the handler, whose traceback still holds the tensors of the failed attempt.
            if self.count >= largest:
                raise DeviceMemoryError(
                    "Out of GPU memory in {what}: not even one clip fits. {reason}",
                    _HINT,
                    what=what,
                    reason=reason,
                )
            self.count *= 2
            empty_cache()
            self._reporter.warn(
                "Out of memory in {what}: micro-batches are computed in {count} pieces from now on. "
                "The effective batch stays the same and no data is lost or repeated.",
                "Started again with a smaller --batch-tokens and more --accumulation, the run "
                "continues without the failed attempts.",
                what=what,
                count=self.count,
            )


def update(optimizer: Optimizer, step: Callable[[], object], what: str, kept: str) -> None:
    """Apply an optimizer's update by calling `step`; once more if memory was short before anything changed.

    Args:
        what: which update, for messages ("step 12").
        kept: sentence on the last good checkpoint.

    Raises:
        DeviceMemoryError: the memory does not suffice. Weights may be half updated: they must not be saved.
    """
    for _ in range(2):
        known = set(optimizer.state)
        before = _versions(optimizer, known)
        try:
            step()
            return
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).strip().splitlines()[0]
        if _versions(optimizer, known) != before:
            break
        for parameter in set(optimizer.state) - known:  # perhaps only half of it came into being
            del optimizer.state[parameter]
        empty_cache()
    raise DeviceMemoryError(
        "Out of GPU memory in the update of {what}: {reason}. {kept}",
        _HINT,
        what=what,
        reason=reason,
        kept=kept,
    )


def _versions(optimizer: Optimizer, known: set[Tensor]) -> list[int]:
    """Return how often the weights, and the state of those in `known`, were written in place until now.

    Torch counts a fused update, a GPU's, in the state's steps alone; once its state is there, such an update
    allocates nothing that could fail half-way.
    """
    weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = [
        entry
        for parameter in weights
        if parameter in known
        for entry in optimizer.state[parameter].values()
        if isinstance(entry, Tensor)
    ]
    return [tensor._version for tensor in (*weights, *state)]
