"""How a command ends that did not come to its end: one sentence, whatever was raised."""

from __future__ import annotations

import os
import sys
import time
import traceback

import typer

from ..errors import FishtuneError, StopRequested
from ..jobs.failures import explain
from ..owned import open_own
from ..redact import redacted
from ..user_folders import state_folder
from .console import err, print_error

UNFORESEEN = 3
"""Exit code of a fault of fishtune's own."""
INTERRUPTED = 130
"""Exit code after Ctrl+C, as shells have it."""
TRACE_FILE = "last-trace.txt"
_PRIVATE = 0o600


def end_of(error: BaseException) -> int:
    """Say in a sentence why a command ended with `error` and return its exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, BrokenPipeError):
        return _without_reader()
    try:
        return _said(error)
    except BrokenPipeError:
        return _without_reader()


def _said(error: BaseException) -> int:
    match error:
        case FishtuneError():
            print_error(error)
            return error.exit_code
        case StopRequested():
            err.print(f"Stopped. {error.saved}".rstrip())
            return 1
        case KeyboardInterrupt() | typer.Abort():
            err.print("Interrupted; what was saved before is kept.")
            return INTERRUPTED
    explained = explain(error)
    if type(explained) is not FishtuneError:
        print_error(explained)
        return explained.exit_code
    what = str(error).strip().splitlines() or ["without a word"]
    print_error(
        FishtuneError(
            "The command ended with an unexpected {kind}: {what}",
            "This is a bug in fishtune: please report it with its trace, {trace}.",
            kind=type(error).__name__,
            what=what[0][:300],
            trace=_kept_trace(error),
        )
    )
    return UNFORESEEN


def _kept_trace(error: BaseException) -> str:
    """Write where an error arose and return where that can be read."""
    path = state_folder() / TRACE_FILE
    trace = "".join(traceback.format_exception(error))
    content = f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{sys.argv}\n{trace}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_own(path, os.O_WRONLY | os.O_TRUNC, _PRIVATE), "wb") as file:
            file.write(redacted(content).encode("utf-8", "backslashreplace"))
    except (OSError, FishtuneError):
        return "which could not be kept"
    return f"which lies in {path}"


def _without_reader() -> int:
    """End for a reader who has gone, such as `head`; say so where standard error is still read."""
    # Python flushes standard output once more at the end, into nothing then.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        err.print("The output was not read to its end.")
    except OSError:
        os.dup2(1, 2)
    return 1
