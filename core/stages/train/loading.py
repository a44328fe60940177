"""Data-loading processes: what fails in one arrives as what it is, and one that dies is told as that."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ...errors import FishtuneError, StorageError, TrainingError
from ...messages import Message
from .batches import StepBatch
from .data import PlannedSteps, SampleSource, step_loader
from .sampler import StepPlan

_DEAD = re.compile(r"DataLoader worker .*(is killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)")


def load_steps(source: SampleSource, plans: PlannedSteps, num_workers: int) -> Iterable[StepBatch]:
    """Return the planned batches in order, made in `num_workers` processes; 0 = in this one.

    Iterating may raise, besides what reading a clip raises:
        TrainingError: a loading process was killed.
        StorageError: too many open files to talk with the loading processes.
    """
    if num_workers == 0:
        return step_loader(source, plans, 0)
    carrying: Any = _Carrying(source)  # a source in all but what it may give
    return _Deliveries(step_loader(carrying, plans, num_workers))


class _Carrying(Dataset[StepBatch | BaseException]):
    """Gives errors back as values: torch would make their traceback the message of a new one."""

    def __init__(self, source: SampleSource) -> None:
        self._source = source

    def __getitem__(self, plan: StepPlan) -> StepBatch | BaseException:
        try:
            return self._source[plan]
        except (FishtuneError, OSError, MemoryError) as error:
            traceback.print_exc()  # into the job's log; it cannot travel
            return error


class _Deliveries:
    """What loading processes send, for as long as they live. It has no length, like the run's plan."""

    def __init__(self, loader: DataLoader[StepBatch]) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[StepBatch]:
        arriving = iter(self._loader)
        while True:
            try:
                step = next(arriving, None)
            except (RuntimeError, ConnectionError, EOFError) as error:
                raise _explained(error) from error
            if step is None:
                return
            if isinstance(step, BaseException):
                raise step
            yield step


def _explained(error: Exception) -> Exception:
    text = str(error)
    if "Too many open files" in text:
        return StorageError(
            "Too many files are open for the data-loading processes.",
            "Raise the limit: ulimit -n 4096, or choose a smaller --num-workers.",
        )
    found = _DEAD.search(text)
    if found is None and isinstance(error, RuntimeError):
        return error
    # A process that dies while it hands something over only leaves a broken connection.
    how = (
        found["signal"].strip() if found is not None and found["signal"] else Message("its connection broke")
    )
    return TrainingError(
        "A data-loading process ended unexpectedly ({how}).",
        "Most likely the machine was short of memory, or of shared memory (/dev/shm; docker run --shm-size): "
        "choose a smaller --num-workers, or 0. What was saved is kept; starting again continues from there.",
        how=how,
    )
