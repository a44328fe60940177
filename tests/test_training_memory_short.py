"""What training does on a device whose memory really ends, at whatever operation that is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.events import Step, Warned
from fishtune.core.stages.train import module
from fishtune.core.stages.train.run import run
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .recorder import Recorder
from .training_kit import shards, small_base, train_settings  # noqa: F401 - fixtures


class Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A memory of so many bytes for everything that operations make; what is let go of is free again."""

    def __init__(self, size: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size = size
        self.used = self.peak = 0
        self._held: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: Any = None
    ) -> Any:
        result = operation(*arguments, **(keywords or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._take(leaf.untyped_storage())
        return result

    def _take(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return
        if self.used + size > self.size:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate a little more.")
        self._held.add(key)
        self.used += size
        self.peak = max(self.peak, self.used)
        weakref.finalize(storage, self._free, key, size).atexit = False

    def _free(self, key: int, size: int) -> None:
        self._held.discard(key)
        self.used -= size


@contextmanager
def steps_in(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let what a micro-batch takes, forward and backward, come from `memory`."""
    accumulate = module.TrainingModule._accumulate

    def within(self: Any, *arguments: Any) -> Any:
        with memory:
            return accumulate(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module.TrainingModule, "_accumulate", within)
        gc.disable()  # what only a collection would find is not free when the next attempt begins
        try:
            yield
        finally:
            gc.enable()


@pytest.mark.parametrize(("checkpointing", "share"), [("none", 0.45), ("selective", 0.7), ("blocks", 0.9)])
def test_what_a_failed_attempt_held_is_free_for_the_next(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpointing: str,
    share: float,
) -> None:
    def train(project: str, memory: Memory) -> Recorder:
        settings = train_settings(
            tmp_path,
            small_base,
            shards,
            project=project,
            checkpointing=checkpointing,
            batch_tokens=4096,
            max_steps=2,
            held_out=0,
        )
        recorder = Recorder()
        with steps_in(memory, monkeypatch):
            run(settings, recorder)
        return recorder

    roomy = Memory(float("inf"))
    plain = train("roomy", roomy)
    tight = train("tight", Memory(share * roomy.peak))
    warned = [event.message for event in tight.of(Warned) if event.message.startswith("Out of memory")]
    assert 1 <= len(warned) <= 3
    for one, other in zip(tight.of(Step), plain.of(Step), strict=True):
        assert one.clip_passes == other.clip_passes
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
