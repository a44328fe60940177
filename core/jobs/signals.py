"""Signals while a stage runs: the first asks it to stop, the second ends it, a hang-up means nothing.

Python runs signal handlers in the main thread between two of its instructions, which may be many seconds
away while a network computes. The interpreter's C handler however writes the signal's number to a pipe at
once, and a thread reads that pipe: so a second signal ends the process in time whatever the main thread does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from ..errors import FishtuneError
from .process import end_children

_STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT") if hasattr(signal, name))
_QUIT = b"\0"
_watching = False
_last_calls: list[Callable[[], None]] = []


@contextmanager
def watch_signals(stop: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first SIGTERM or SIGINT and `end` on the second, from another thread.

    SIGHUP is ignored meanwhile, also by processes that the stage starts. Does nothing outside of the main
    thread, where Python cannot handle signals.
    """
    global _watching
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = {number: signal.signal(number, _only_noted) for number in _STOPPING}
    if hasattr(signal, "SIGHUP"):
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(reading, stop, end), name="signals", daemon=True)
    _watching = True
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writing, _QUIT)
        thread.join()
        os.close(reading)
        os.close(writing)
        _watching = False


@contextmanager
def before_end(last: Callable[[], None]) -> Iterator[None]:
    """Have `last` called if this process is ended at once within the block."""
    _last_calls.append(last)
    try:
        yield
    finally:
        _last_calls.remove(last)


def end_now() -> NoReturn:
    """End this process and all that it started, at once."""
    for last in reversed(_last_calls):
        with suppress(FishtuneError):
            last()
    end_children(os.getpid())
    os._exit(1)


def _only_noted(number: int, frame: FrameType | None) -> None:
    """Stand in for the default handler; what happens is decided by the thread that reads the pipe."""


def _watch(reading: int, stop: Callable[[], None], end: Callable[[], None]) -> None:
    count = 0
    while True:
        numbers = os.read(reading, 64)
        if _QUIT in numbers:
            return
        for number in numbers:
            if number in _STOPPING:
                count += 1
                (stop if count == 1 else end)()


def _in_child() -> None:
    """Let forked workers end on SIGTERM, as those who start them expect, and leave Ctrl+C to the parent."""
    if _watching:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
