"""Threads that each work on a piece of a weight by themselves; torch's own share every operation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def computing_threads() -> Iterator[ThreadPoolExecutor]:
    """Yield as many threads as torch would use; each computes by itself, without gradients.

    Meanwhile torch uses one thread for an operation, here too. Its threads wait for one another after each,
    which for pieces of a megabyte takes more than is won, and on a busy machine many times as much.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, "compute", torch.set_grad_enabled, (False,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)
