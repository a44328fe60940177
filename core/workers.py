"""Work on many files in several processes, results in the order of the items."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TypeVar

from .errors import FishtuneError

Item = TypeVar("Item")
Result = TypeVar("Result")


WORTH_STARTING = 2.0
"""Seconds of work from which workers are started: each takes half a second of a core to start, and items
and results take their time to go to it and back."""
_TRIAL = 0.025
"""Share of that, of work that tells how long the rest will take."""
_QUEUED = 2
"""Chunks that another process has before it: one that it works on and the next."""
_MOST_UNDER_WAY = 4
"""Chunks per process that wait for their turn, at most."""
_BETWEEN_SEARCHES = 50_000
"""New objects after which garbage is searched for. What is noted of a hundred thousand files is none, and
with Python's 700 it is looked through again and again: a twelfth of the time that packing takes."""


def worker_count(wanted: int) -> int:
    """Return how many processes to use: `wanted`, or one a usable core where that is 0."""
    if wanted:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _search_seldom() -> None:
    gc.set_threshold(_BETWEEN_SEARCHES, *gc.get_threshold()[1:])


@contextmanager
def seldom_searched() -> Iterator[None]:
    """Let Python search for garbage seldom meanwhile: for stages of many small objects and no tensors."""
    usual = gc.get_threshold()
    _search_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def ordered_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    chunk: int,
    worth_starting: float | None = None,
) -> Generator[Result]:
    """Yield `function(item)` for every item, in order.

    The result does not depend on the number of workers. This process is one of them: it does what can be
    done while the others start, and a chunk whenever they have enough to do. With one worker, or where the
    first items tell that all are done before others are of use, everything happens here. Only a few chunks
    are under way at a time, so memory does not grow with the number of items. Close the generator if you
    leave it early (`contextlib.closing`): it abandons what has not begun and ends the workers.

    Args:
        function: importable by name; its exceptions are raised here.
        chunk: items sent to a worker at once: work of a thirtieth of a second or more. At the end, this
            process may wait as long as two of them take.
        worth_starting: seconds of work from which workers are started; None = `WORTH_STARTING`.

    Raises:
        FishtuneError: a worker was killed.
    """
    workers = min(worker_count(workers), -(-len(items) // chunk))
    if workers <= 1:
        yield from map(function, items)
        return
    worth = WORTH_STARTING if worth_starting is None else worth_starting
    left = iter(items)
    done, seconds = 0, 0.0
    for item in left:
        begun = time.perf_counter()
        result = function(item)
        done, seconds = done + 1, seconds + time.perf_counter() - begun
        yield result
        if seconds > _TRIAL * worth:
            break
    if seconds * (len(items) - done) < worth * done:
        yield from map(function, left)
        return
    # Spawned, not forked: this process may have threads, and a fork copies locks that nobody will open.
    others = workers - 1
    pool = ProcessPoolExecutor(others, multiprocessing.get_context("spawn"), _begin_worker)
    all_done = False
    try:
        parts = _chunks(left, chunk)
        # Until the first has started, which takes as long as reading thousands of small files does.
        starting = [pool.submit(_ready, function) for _ in range(others)]
        while not starting[0].done() and (part := next(parts, None)) is not None:
            yield from map(function, part)
        under_way: deque[Future[list[Result]]] = deque()
        for part in parts:
            if sum(not each.done() for each in under_way) < _QUEUED * others:
                under_way.append(pool.submit(_work, function, part))
            else:
                under_way.append(_done_here(function, part))
            while under_way and (under_way[0].done() or len(under_way) > _MOST_UNDER_WAY * workers):
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()
        all_done = True
    except BrokenProcessPool as error:
        raise FishtuneError(
            "A worker process was killed, perhaps because memory ran out.",
            "Run again with fewer workers: --num-workers 1",
        ) from error
    finally:
        # Workers that have nothing to do end by themselves, in a tenth of a second that nobody waits for.
        pool.shutdown(wait=not all_done, cancel_futures=True)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part


def _ready(function: object) -> None:
    """Tell that a worker has started, and imported what the function needs."""


def _work(function: Callable[[Item], Result], part: list[Item]) -> list[Result]:
    return [function(item) for item in part]


def _done_here(function: Callable[[Item], Result], part: list[Item]) -> Future[list[Result]]:
    done: Future[list[Result]] = Future()
    try:
        done.set_result(_work(function, part))
    except Exception as error:  # noqa: BLE001 - raised in its turn, as that of another process
        done.set_exception(error)
    return done


def _begin_worker() -> None:
    # Ctrl+C reaches the whole foreground group; stopping is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _search_seldom()
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    # The pool's pipes stay open among siblings: a worker whose parent was killed would wait for ever.
    wait([sentinel])
    os._exit(1)
