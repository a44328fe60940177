"""Several processes: order, errors, and none left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import closing

import psutil
import pytest
from fishtune.core import workers
from fishtune.core.errors import DataError, FishtuneError
from fishtune.core.workers import ordered_map, seldom_searched

MANY = ["x"] * 10_000_000  # more than a process can do while another starts


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers however little the first items take."""
    monkeypatch.setattr(workers, "WORTH_STARTING", 0)


def _in_a_worker() -> bool:
    return multiprocessing.parent_process() is not None


def _fail(text: str) -> int:
    if _in_a_worker():
        raise DataError(f"{text} is wrong.", "Correct it.")
    return 0


def _end(_: str) -> None:
    if _in_a_worker():
        os._exit(1)


def _process(_: str) -> int:
    return os.getpid()


def test_results_come_in_order_whatever_the_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "WORTH_STARTING", 0)
    items = [str(i) for i in range(200)]
    assert list(ordered_map(int, items, 2, 7)) == list(range(200)) == list(ordered_map(int, items, 1, 7))


@pytest.mark.usefixtures("eager")
def test_an_error_crosses_the_process_border_with_its_hint() -> None:
    with pytest.raises(DataError, match=r"x is wrong\.") as caught:
        deque(ordered_map(_fail, MANY, 2, 1), maxlen=0)
    assert caught.value.hint == "Correct it."


@pytest.mark.usefixtures("eager")
def test_a_killed_worker_is_one_sentence() -> None:
    with pytest.raises(FishtuneError, match="A worker process was killed") as caught:
        deque(ordered_map(_end, MANY, 2, 1), maxlen=0)
    assert "--num-workers 1" in caught.value.hint


def test_workers_are_not_started_for_what_is_done_sooner() -> None:
    before = set(psutil.Process().children(recursive=True))
    processes = set(ordered_map(_process, ["x"] * 1000, 2, 1))
    assert processes == {os.getpid()}
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.usefixtures("eager")
def test_this_process_works_until_a_worker_has_started() -> None:
    with closing(ordered_map(_process, MANY, 2, 1)) as results:
        assert next(results) == os.getpid()
        assert any(process != os.getpid() for process in results)


@pytest.mark.usefixtures("eager")
def test_this_process_works_beside_the_others() -> None:
    with closing(ordered_map(_process, MANY, 2, 1)) as results:
        assert any(process != os.getpid() for process in results)
        assert any(process == os.getpid() for process in results)


@pytest.mark.usefixtures("eager")
def test_an_error_comes_after_all_results_before_it() -> None:
    items = [str(i) for i in range(5000)] + ["none"]
    found = []
    with pytest.raises(ValueError, match="none"):
        for number in ordered_map(int, items, 2, 1):
            found.append(number)  # noqa: PERF402 - what came before the error is what counts
    assert found == list(range(5000))


@pytest.mark.usefixtures("eager")
def test_leaving_early_ends_the_workers() -> None:
    before = set(psutil.Process().children(recursive=True))
    with closing(ordered_map(_process, MANY, 2, 1)) as results:
        assert any(process != os.getpid() for process in results)
        assert len(set(psutil.Process().children(recursive=True)) - before) >= 1
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=0)
    assert all("resource_tracker" in " ".join(process.cmdline()) for process in alive)


PARENT = """
import time
from fishtune.core.workers import ordered_map
print("begun", flush=True)
for _ in ordered_map(time.sleep, [0.01] * 100000, 2, 1):
    print("one", flush=True)
"""


def test_workers_end_with_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "begun\n"
    children: list[psutil.Process] = []
    while len(children) < 2 and parent.stdout.readline() == "one\n":  # a resource tracker is one of them
        children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_garbage_is_searched_for_as_usual_once_a_stage_has_failed() -> None:
    usual = gc.get_threshold()
    with pytest.raises(DataError), seldom_searched():
        assert gc.get_threshold()[0] > usual[0]
        raise DataError("It failed.")
    assert gc.get_threshold() == usual


@pytest.mark.usefixtures("eager")
def test_workers_end_by_themselves_after_the_last_result() -> None:
    before = set(psutil.Process().children(recursive=True))
    with closing(ordered_map(_process, ["x"] * 100_000, 2, 1000)) as results:
        deque(results, maxlen=0)
    own = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(own, timeout=30)
    assert all("resource_tracker" in " ".join(process.cmdline()) for process in alive)
