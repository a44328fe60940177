"""Files of ours that are written in place, line by line: locks, events, logs, traces."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .errors import StorageError
from .files import storage_errors


def open_own(path: Path, flags: int, mode: int = 0o666) -> int:
    """Return a descriptor of a file of ours that is written in place, which is made if it is missing.

    It never leads elsewhere: a link in its place, also a hard one, and what is no regular file are refused.
    Whoever can write to the folder could have put them there.

    Args:
        flags: of `os.open`, such as `os.O_WRONLY | os.O_APPEND`.
        mode: permissions of a new file, less the umask.

    Raises:
        StorageError: something else is in its place, or the system refused.
    """
    careful = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    with storage_errors(path):
        try:
            descriptor = os.open(path, flags & ~os.O_TRUNC | os.O_CREAT | careful, mode)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
                raise _not_ours(path) from error
            raise
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(descriptor)
            raise _not_ours(path)
        if flags & os.O_TRUNC:  # only now: it might have been somebody else's
            os.ftruncate(descriptor, 0)
    return descriptor


def _not_ours(path: Path) -> StorageError:
    return StorageError(
        "{file} is a link or something else that fishtune did not put there, and is not written.",
        "Look at where it leads, then remove it.",
        file=path,
    )
