"""Events on a terminal (rich) or as plain lines elsewhere.

Standard error is used, so that standard output stays the command's result. The stream is a copy of the
process's own: while a stage runs, what libraries print goes to the job's log instead.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.table import Column
from rich.text import Text

from ..events import ClipsListed, Event, Finished, Progress, Started, Step
from ..jobs.lines import LinePrinter, event_line
from ..jobs.signals import before_end
from ..jobs.writer import Listener
from ..terminal import visible_line
from ..units import format_amount, format_duration
from .console import SafeConsole

_PLAIN_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""
_QUEUED = 10_000
_FINISH_SECONDS = 2.0
_LAST_SECONDS = 0.2
_NAME, _BAR = 28, 24
_GAPS = 5
"""Cells of the spinner and of the spaces between columns."""


@contextlib.contextmanager
def display_events(quiet: bool = False) -> Iterator[Listener]:
    """Yield a listener that shows events on standard error until the block ends.

    It never waits for the terminal: showing is another thread's work, and a terminal that takes nothing
    (a link that hangs, Ctrl+S) loses events instead of holding up the stage.
    """
    if quiet:
        yield _drop
        return
    stream = _copy_of_stderr()
    console = SafeConsole(file=stream, soft_wrap=True)
    on_terminal = console.is_terminal and not console.is_dumb_terminal
    shown = _Background(lambda: _TerminalDisplay(console) if on_terminal else _PlainDisplay(stream))
    with before_end(partial(_leave, stream)) if on_terminal else contextlib.nullcontext():
        try:
            yield shown
        finally:
            if shown.finish() and stream is not sys.stderr:
                with contextlib.suppress(OSError):  # the terminal is gone
                    stream.close()


def _drop(event: Event) -> None:
    pass


def _copy_of_stderr() -> TextIO:
    """Return a stream of its own to where standard error goes now, or what tests put in its place."""
    try:
        is_own = sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        is_own = False
    return os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") if is_own else sys.stderr


def _leave(stream: TextIO) -> None:
    """Show the cursor again in a terminal whose process ends at once; does not wait for the terminal."""
    writing = threading.Thread(target=_write_last, args=(stream.fileno(),), daemon=True)
    writing.start()
    writing.join(_LAST_SECONDS)


def _write_last(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.write(descriptor, b"\x1b[?25h\r\nEnded at once. What was saved before is kept.\r\n")


class _Display(Protocol):
    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


class _Background:
    """Shows events in a thread of its own; gives up when the display breaks or takes too long."""

    def __init__(self, make: Callable[[], _Display]) -> None:
        self._make = make
        self._events: queue.Queue[Event | None] = queue.Queue(_QUEUED)
        self._thread = threading.Thread(target=self._show_all, name="display", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        with contextlib.suppress(queue.Full):
            self._events.put_nowait(event)

    def finish(self) -> bool:
        """Show what is left and return whether that came to its end in time."""
        with contextlib.suppress(queue.Full):
            self._events.put_nowait(None)
        self._thread.join(_FINISH_SECONDS)
        return not self._thread.is_alive()

    def _show_all(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone, or its stream closed
            display = self._make()
            while (event := self._events.get()) is not None:
                display(event)
            display.close()


class _PlainDisplay:
    """Lines, where there is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._printer = LinePrinter(lambda line: print(line, file=stream, flush=True), _PLAIN_SECONDS)

    def __call__(self, event: Event) -> None:
        self._printer(event)

    def close(self) -> None:
        """Nothing is left to be done."""


def _shortened(name: str) -> str:
    text = Text(visible_line(name))
    text.truncate(_NAME, overflow="ellipsis")
    return text.plain


def _amount(task: Task) -> str:
    if not task.fields["unit"] and task.total is None:
        return ""
    return format_amount(task.completed, task.total, task.fields["unit"])


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_amount(task), style="cyan")


class _Detail(ProgressColumn):
    """Time to go, then what a stage adds: file names and transcripts, cut at the terminal's edge."""

    def __init__(self, room: Callable[[], int]) -> None:
        super().__init__(Column(no_wrap=True))
        self._room = room

    def render(self, task: Task) -> Text:
        eta = task.fields["eta"]
        left = f"{format_duration(eta)} to go" if eta is not None and not task.finished else ""
        text = Text(
            "  ".join(part for part in (left, visible_line(task.fields["detail"])) if part), style="dim"
        )
        text.truncate(self._room(), overflow="ellipsis")
        return text


class _TerminalDisplay:
    """One bar a task, one status line for training, everything else as lines above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=_BAR),
            _Amount(Column(no_wrap=True)),
            _Detail(self._room),
            console=console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def _room(self) -> int:
        """Return how many cells are left for details beside the other columns."""
        taken = [(cell_len(task.description), cell_len(_amount(task))) for task in self._bars.tasks]
        names, amounts = (max(widths, default=0) for widths in zip(*taken, strict=True))
        return max(self._console.width - names - _BAR - amounts - _GAPS, 0)

    def __call__(self, event: Event) -> None:
        match event:
            case Progress():
                self._show(
                    event.task, event.done, event.total, unit=event.unit, eta=event.eta, detail=event.detail
                )
            case Step():
                self._show(
                    "training",
                    event.step,
                    event.total_steps,
                    unit="steps",
                    eta=event.eta,
                    detail=f"loss {event.loss:.3f}",
                )
            case Started() | Finished() | ClipsListed():
                pass
            case _:
                self._console.print(event_line(event))

    def _show(
        self, task: str, done: float, total: float | None, *, unit: str, eta: float | None, detail: str
    ) -> None:
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(
                _shortened(task), total=total, unit=unit, eta=eta, detail=detail
            )
        self._bars.update(self._tasks[task], completed=done, total=total, unit=unit, eta=eta, detail=detail)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._bars.stop()
