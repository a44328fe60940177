"""What nobody foresaw: its traceback goes to a file, a sentence to the screen, and the wizard stays."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import FishtuneError
from ..core.user_folders import state_folder
from .catalogue import _
from .wording import harmless

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.worker import Worker

_LARGEST = 1 << 20
"""Bytes; what happens every second must not fill a disk."""
_LONGEST = 200
_last = ""

Show = Callable[[FishtuneError], object]


def trouble_file() -> Path:
    """Return the file that tracebacks go to."""
    return state_folder() / "wizard.log"


def note(error: BaseException) -> FishtuneError:
    """Return what to show for an exception: itself if it is one of ours, else where its traceback lies."""
    if isinstance(error, FishtuneError):
        return error
    global _last
    text = "".join(traceback.format_exception(error))
    file = trouble_file()
    if text != _last:
        _last = text
        _write(file, text)
    what = str(error).strip().split("\n", maxsplit=1)[0]
    return FishtuneError(
        _("The wizard met an unexpected {kind}: {what}").format(
            kind=type(error).__name__, what=harmless(what, _LONGEST)
        ),
        _("Jobs are not concerned. Please report it with {file}, which holds the traceback.").format(
            file=file
        ),
    )


def _write(file: Path, text: str) -> None:
    with contextlib.suppress(OSError, UnicodeError):
        file.parent.mkdir(parents=True, exist_ok=True)
        full = file.exists() and file.stat().st_size + len(text) > _LARGEST
        with file.open("w" if full else "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(text)


def _gone() -> tuple[type[Exception], ...]:
    """Return what is raised where widgets, or whoever asks for the application, are no longer there."""
    from textual._context import NoActiveAppError
    from textual.css.query import NoMatches

    return NoMatches, NoActiveAppError


@contextlib.contextmanager
def caught(show: Show) -> Iterator[None]:
    """Show what goes wrong in the block instead of ending the program."""
    gone = _gone()
    try:
        yield
    except gone:
        return  # its widgets are gone, and so is whoever wanted to know
    except Exception as error:  # noqa: BLE001 - nothing ends the wizard
        with contextlib.suppress(*gone):
            show(note(error))


def in_thread(
    owner: DOMNode, work: Callable[[], object], show: Show, group: str, exclusive: bool = True
) -> None:
    """Do `work` in a thread; what goes wrong in it, or in what it calls on the screen, is shown."""
    app, gone = owner.app, _gone()

    def run() -> None:
        try:
            work()
        except gone:
            return  # its widgets are gone, and so is whoever wanted to know
        except Exception as error:  # noqa: BLE001 - nothing ends the wizard
            if app.is_running:
                with contextlib.suppress(RuntimeError, *gone):
                    app.call_from_thread(show, note(error))

    owner.run_worker(run, thread=True, exclusive=exclusive, group=group, exit_on_error=False)


def in_background(
    owner: DOMNode,
    work: Callable[[], Awaitable[None]],
    show: Show,
    group: str = "default",
    exclusive: bool = True,
) -> Worker[None]:
    """Await `work()` beside what the user does; if `exclusive`, the one of its group before is cancelled.

    What goes wrong in it is shown. Where its widgets have gone meanwhile, nobody wants to know any more.
    """

    async def run() -> None:
        with caught(show):
            await work()

    # Not run(): of a worker that is cancelled before its turn comes, nobody would await the coroutine.
    return owner.run_worker(run, exclusive=exclusive, group=group, exit_on_error=False)
