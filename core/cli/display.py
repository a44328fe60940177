"""Events on a terminal (rich) or as plain lines elsewhere.

Standard error is used, so that standard output stays the command's result. The stream is a copy of the
process's own: while a stage runs, what libraries print goes to the job's log instead.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

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

from ..events import Event, Finished, Progress, Started, Step
from ..jobs.lines import LinePrinter, event_line
from ..jobs.writer import Listener
from ..units import format_amount, format_duration

_PLAIN_SECONDS = 10.0
"""Between two lines of progress where there is no terminal."""
_NAME, _BAR = 28, 24
_GAPS = 5
"""Cells of the spinner and of the spaces between columns."""


@contextlib.contextmanager
def display_events(quiet: bool = False) -> Iterator[Listener]:
    """Yield a listener that shows events on standard error until the block ends."""
    if quiet:
        yield _drop
        return
    with _copy_of_stderr() as stream:
        console = Console(file=stream, markup=False, highlight=False, soft_wrap=True)
        if not console.is_terminal or console.is_dumb_terminal:
            yield LinePrinter(lambda line: print(line, file=stream, flush=True), _PLAIN_SECONDS)
            return
        display = _TerminalDisplay(console)
        try:
            yield display
        finally:
            with contextlib.suppress(OSError):  # the terminal is gone
                display.close()


def _drop(event: Event) -> None:
    pass


@contextlib.contextmanager
def _copy_of_stderr() -> Iterator[TextIO]:
    try:
        is_own = sys.stderr.fileno() == 2
    except (OSError, ValueError, AttributeError):
        is_own = False
    if not is_own:
        yield sys.stderr
        return
    stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):
            stream.close()


def _shortened(name: str) -> str:
    text = Text(name)
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
        text = Text("  ".join(part for part in (left, task.fields["detail"]) if part), style="dim")
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
            case Started() | Finished():
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
