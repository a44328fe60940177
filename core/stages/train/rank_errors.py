"""How a further process of a distributed run tells the first one why it failed. Imports no torch.

The first process hands it the name of a file in a folder of its own; the error is left beside it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path

from ...errors import StorageError
from ...files import write_bytes

READY = "FISHTUNE_RANK_READY"
"""Variable with the file by which a started process says that it is ready."""


def leave_error(error: BaseException) -> None:
    """Leave `error` for the first process, in a process that it started."""
    if READY not in os.environ:
        return
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:  # noqa: BLE001 - whatever an exception of a library does when it is taken apart
        content = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    with contextlib.suppress(StorageError):  # its traceback is in the log in any case
        write_bytes(_error_file(Path(os.environ[READY])), content)


def find_error(ready: Path) -> BaseException | None:
    """Return the error that the process of this ready file left, if any."""
    try:
        error = pickle.loads(_error_file(ready).read_bytes())
    except OSError:
        return None
    return error if isinstance(error, BaseException) else None


def _error_file(ready: Path) -> Path:
    return ready.with_name(f"{ready.name}.error")
