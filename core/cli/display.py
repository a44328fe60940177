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
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
)
from rich.progress import (
    Progress as Bars,
)
from rich.table import Column
from rich.text import Text

from ..events import ClipsListed, Event, Failed, Finished, Progress, Started, Step, Warned
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
_SHORTEST_NAME, _SHORTEST_BAR, _SHORT_DETAIL = 12, 8, 10
_GAPS = 6
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


@dataclass(frozen=True)
class _Widths:
    """Cells of each part of a line of progress; 0 = there is no room for it."""

    name: int
    bar: int
    left: int
    detail: int


def _shortened(text: str, width: int) -> Text:
    """Return a text of at most `width` cells, cut between words where it has some."""
    if cell_len(text) <= width:
        return Text(text)
    cut = Text(text)
    cut.truncate(max(width - 1, 0))
    words = cut.plain.rpartition(" ")[0]
    return Text(f"{words if len(words) * 2 > width else cut.plain}…" if width else "")


def _in_words(line: str, width: int) -> str:
    """Return a line broken between words; rich would break long ones, too, and no path could be copied."""
    lines = [""]
    for word in line.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and cell_len(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _amount(task: Task) -> str:
    if not task.fields["unit"] and task.total is None:
        return ""
    return format_amount(task.completed, task.total, task.fields["unit"])


def _left(task: Task) -> str:
    eta = task.fields["eta"]
    return f"{format_duration(eta)} to go" if eta is not None and not task.finished else ""


class _Part(ProgressColumn):
    """A part of the line, made anew whenever it is drawn."""

    def __init__(self, render: Callable[[Task], Text]) -> None:
        super().__init__(Column(no_wrap=True))
        self._render = render

    def render(self, task: Task) -> Text:
        return self._render(task)


class _Bar(BarColumn):
    """A bar as wide as there is room."""

    def __init__(self, width: Callable[[], int]) -> None:
        super().__init__()
        self._width = width

    def render(self, task: Task) -> Any:
        self.bar_width = self._width()
        return super().render(task) if self.bar_width else Text()


class _TerminalDisplay:
    """One bar a task, one status line for training, everything else as lines above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Bars(
            SpinnerColumn(),
            _Part(lambda task: _shortened(task.description, self._widths().name)),
            _Bar(lambda: self._widths().bar),
            _Part(lambda task: Text(_amount(task), style="cyan")),
            _Part(lambda task: _shortened(_left(task), self._widths().left)),
            _Part(self._detail),
            console=console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def _widths(self) -> _Widths:
        """Share the line out: amounts whole, then time to go, names, bar and details as there is room."""
        parts = [
            (cell_len(t.description), cell_len(_amount(t)), cell_len(_left(t))) for t in self._bars.tasks
        ]
        names, amounts, left = (max(widths, default=0) for widths in zip(*parts, strict=True))
        room = self._console.width - amounts - _GAPS
        left = left if room - left >= _SHORTEST_NAME else 0
        room -= left
        name = min(names, _NAME, max(room, 0))
        room -= name
        wanted = max((cell_len(task.fields["detail"]) for task in self._bars.tasks), default=0)
        bar = min(room - min(wanted, _SHORT_DETAIL), _BAR)
        bar = bar if bar >= _SHORTEST_BAR else 0
        detail = room - bar if room - bar >= min(wanted, _SHORT_DETAIL) else 0
        return _Widths(name, bar, left, detail)

    def _detail(self, task: Task) -> Text:
        """Return what a stage adds: file names and transcripts, cut at the terminal's edge."""
        text = Text(visible_line(task.fields["detail"]), style="dim")
        width = self._widths().detail
        text.truncate(width, overflow="ellipsis" if width else "crop")
        return text

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
            case Warned() | Failed():
                # The hint may be a command, which is copied: the terminal alone breaks its line.
                kind = "warning" if isinstance(event, Warned) else "failed"
                self._tell(f"{kind}: {event.message}")
                if event.hint:
                    self._console.print(f"  → {event.hint}")
            case _:
                self._tell(event_line(event))

    def _tell(self, line: str) -> None:
        """Write a line whose words, and paths, stay whole."""
        for part in line.splitlines():
            self._console.print(_in_words(visible_line(part), self._console.width))

    def _show(
        self, task: str, done: float, total: float | None, *, unit: str, eta: float | None, detail: str
    ) -> None:
        if task not in self._tasks:
            self._tasks[task] = self._bars.add_task(
                visible_line(task), total=total, unit=unit, eta=eta, detail=detail
            )
        self._bars.update(self._tasks[task], completed=done, total=total, unit=unit, eta=eta, detail=detail)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._bars.stop()
