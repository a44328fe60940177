"""Which share of the work is this process's, where torchrun started several."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Ranks:
    """Place of this process among those of a distributed run; a run of its own is rank 0 of 1."""

    rank: int = 0
    local_rank: int = 0
    """Rank among the processes of this machine."""
    count: int = 1

    @classmethod
    def from_environment(cls) -> Ranks:
        """Return what torchrun (or a scheduler that speaks its language) says in the environment."""
        return cls(
            rank=int(os.environ.get("RANK", "0")),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            count=int(os.environ.get("WORLD_SIZE", "1")),
        )

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks for all."""
        return self.rank == 0

    def gather(self, result: Result) -> list[Result]:
        """Return the results of all ranks, by rank, on the first; on the others only the own one.

        Waits for the others where torchrun connects them; processes that only know their rank do not wait.
        """
        if self.count == 1 or "MASTER_ADDR" not in os.environ:
            return [result]
        import torch.distributed

        torch.distributed.init_process_group("gloo", timeout=_SLOWEST_RANK)
        try:
            gathered: list[Result] | None = [result] * self.count if self.is_first else None
            torch.distributed.gather_object(result, gathered)
            return gathered or [result]
        finally:
            torch.distributed.destroy_process_group()


_SLOWEST_RANK = timedelta(days=2)
