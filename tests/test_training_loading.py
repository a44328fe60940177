"""Data-loading processes that fail or die."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.errors import ShardError, StorageError, TrainingError
from fishtune.core.stages.train import data
from fishtune.core.stages.train.loading import load_steps
from fishtune.core.stages.train.run import run

from .recorder import Recorder
from .training_kit import (
    shards,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
)


def _killed(*_: Any) -> Any:
    assert multiprocessing.parent_process() is not None
    os.kill(os.getpid(), signal.SIGKILL)


def _bus_error(*_: Any) -> Any:
    assert multiprocessing.parent_process() is not None
    os.kill(os.getpid(), signal.SIGBUS)


def _exit(*_: Any) -> Any:
    assert multiprocessing.parent_process() is not None
    os._exit(1)


@pytest.mark.parametrize("end", [_killed, _bus_error, _exit])
def test_a_loading_process_that_dies_is_told_with_its_likely_cause(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[..., Any],
) -> None:
    settings = train_settings(tmp_path, small_base, shards, num_workers=1, held_out=0)
    monkeypatch.setattr(data.SampleSource, "__getitem__", end)
    with pytest.raises(TrainingError, match="A data-loading process ended unexpectedly") as caught:
        run(settings, Recorder())
    assert "short of memory" in caught.value.hint and "--num-workers" in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [ShardError("ANN.protos is damaged.", "Pack again."), OSError(5, "Input/output error", "/d/ANN.protos")],
)
def test_an_error_in_a_loading_process_arrives_as_what_it_is(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(data.SampleSource, "__getitem__", fail)
    settings = train_settings(tmp_path, small_base, shards, num_workers=2, held_out=0)
    with pytest.raises(type(error)) as caught:
        run(settings, Recorder())
    assert str(caught.value) == str(error)


def test_too_many_open_files_for_loading_processes_are_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, *_: Any) -> None: ...

        def __iter__(self) -> Any:
            raise RuntimeError("Too many open files. Communication with the workers is no longer possible.")
            yield

    monkeypatch.setattr("fishtune.core.stages.train.loading.step_loader", Full)
    source: Any = None
    with pytest.raises(StorageError, match="Too many files are open"):
        next(iter(load_steps(source, source, 2)))
