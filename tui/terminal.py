"""The terminal the wizard needs, and what happens when it goes away.

Textual has no hang-up handling: left alone, a wizard whose link dropped spins on an exhausted input or
waits for ever in a write. Jobs are other processes and are not concerned.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SMALLEST_WIDTH = 80
SMALLEST_HEIGHT = 24
_GRACE_SECONDS = 1.5
_WATCH_SECONDS = 1.0


def refusal() -> str:
    """Return why the wizard cannot be shown here, one sentence, or nothing where it can."""
    from .catalogue import _

    instead = _("The same without a screen: fishtune --help.")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _("fishtune-tui needs a terminal, and this is not one.") + " " + instead
    if os.environ.get("TERM", "") in ("", "dumb"):
        return _("This terminal (TERM={term}) cannot show screens.").format(
            term=os.environ.get("TERM", "")
        ) + (" " + instead)
    return ""


def too_small(width: int, height: int) -> str:
    """Return the sentence for a terminal below the smallest size, or nothing."""
    from .catalogue import _

    if width >= SMALLEST_WIDTH and height >= SMALLEST_HEIGHT:
        return ""
    return _(
        "This window is {width}×{height}; the wizard needs {least_width}×{least_height}. "
        "Enlarge it or choose a smaller font. Running jobs are not affected."
    ).format(width=width, height=height, least_width=SMALLEST_WIDTH, least_height=SMALLEST_HEIGHT)


@contextlib.contextmanager
def leave_on_hang_up(leave: Callable[[int], None]) -> Iterator[None]:
    """While the block runs, call `leave(exit_code)` once on SIGHUP, SIGTERM or a vanished terminal.

    `leave` is called from a thread and asks the application to end. Should that take more than a moment
    (the event loop may hang in a write to a dead link), the terminal's modes are restored as far as
    there is a terminal, and the process ends.
    """
    leaving = threading.Event()
    done = threading.Event()
    modes = _terminal_modes()

    def end(code: int) -> None:
        if leaving.is_set():
            return
        leaving.set()
        leave(code)
        if not done.wait(_GRACE_SECONDS):
            _restore(modes)
            os._exit(code)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        # A thread of its own: the main one may be inside the very write that never ends.
        threading.Thread(target=end, args=(128 + number,), daemon=True).start()

    def watch() -> None:
        while not done.wait(_WATCH_SECONDS):
            if not terminal_alive():
                end(128 + signal.SIGHUP)
                return

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGHUP, signal.SIGTERM)}
    threading.Thread(target=watch, daemon=True, name="terminal-watch").start()
    try:
        yield
    finally:
        done.set()
        if terminal_alive():
            for number, handler in previous.items():
                signal.signal(number, handler)
        else:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it may still be on its way
            _let_go_of_output()


def terminal_alive() -> bool:
    """Return whether standard input is still connected to a terminal."""
    try:
        poll = select.poll()
        poll.register(0, 0)
        return not any(mask & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, mask in poll.poll(0))
    except (OSError, ValueError):
        return False


def _let_go_of_output() -> None:
    """Send what is still to be written nowhere: failing to flush it, Python would exit with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nowhere, output)
    os.close(nowhere)


def _terminal_modes() -> list[object] | None:
    import termios

    try:
        return termios.tcgetattr(0)
    except termios.error:
        return None


def _restore(modes: list[object] | None) -> None:
    import termios

    with contextlib.suppress(OSError, termios.error):
        if modes is not None:
            termios.tcsetattr(0, termios.TCSANOW, modes)  # type: ignore[arg-type]
        os.set_blocking(1, False)
        # Leave the alternate screen, show the cursor, end mouse reporting and bracketed paste.
        os.write(1, b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?2004l")
