"""One writer: locks that die with their process.

A lock is an exclusive `flock` on a small file that names the job holding it. The kernel lets go of it
when the last process that has the file open ends, however it ends. It can be handed to a child on
purpose (a detached job takes over the lock that its starter won, so that there is no instant without
one); children that were only forked to load data let go of theirs at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from ..errors import FishtuneError, JobError, JobRunningError, MalformedFileError
from ..files import storage_errors
from ..messages import Message, of_the_system
from ..owned import open_own
from ..reading import read_regular
from ..tables import parse_json

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        # The byte lies far behind the text, which stays readable for others.
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Lock:
    """An acquired lock; `release` or the end of the process gives it back."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        _held.add(self)

    @classmethod
    def acquire(cls, path: Path) -> Lock:
        """Return the lock of the file `path`, which is made with its folder where it is missing.

        Raises:
            JobRunningError: another job holds it; the message names it.
            StorageError: the file cannot be made.
        """
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                descriptor = open_own(path, os.O_RDWR)
                try:
                    locked = _try_lock(descriptor)
                except OSError as error:
                    os.close(descriptor)
                    raise JobError(
                        "The file system of {file} has no locks ({reason}).",
                        "Keep results and data on a local disk, or mount the share with locking.",
                        file=path,
                        reason=of_the_system(error),
                    ) from error
                if not locked:
                    os.close(descriptor)
                    raise _refusal(path)
                if _is_current(path, descriptor):
                    break
                os.close(descriptor)  # its last holder removed this very file; lock the new one
            os.ftruncate(descriptor, 0)  # a holder that was killed left its name
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path, descriptor: int) -> Lock:
        """Return the lock that a parent handed to this process as an open `descriptor`."""
        os.set_inheritable(descriptor, False)
        return cls(path, descriptor)

    def name_holder(self, job_id: str) -> None:
        """Write which job holds the lock, for whoever is refused."""
        with storage_errors(self.path):
            os.write(self.descriptor, json.dumps({"job": job_id}).encode())

    def release(self) -> None:
        """Give the lock back and remove its file; nothing happens the second time."""
        if self.descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if _is_current(self.path, self.descriptor):
                self.path.unlink()
        self.drop()

    def drop(self) -> None:
        """Close this process's copy only: whoever else has it keeps the lock."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        _held.discard(self)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_LONGEST_NAME = 4096
_held: set[Lock] = set()


def _drop_all() -> None:
    for lock in list(_held):
        lock.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_all)


def acquire_all(paths: Iterable[Path]) -> list[Lock]:
    """Return the locks of all `paths`, or none: what was won is given back when one is refused."""
    with contextlib.ExitStack() as won:
        locks = [won.enter_context(Lock.acquire(path)) for path in paths]
        won.pop_all()
    return locks


def _is_current(path: Path, descriptor: int) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _refusal(path: Path) -> JobRunningError:
    holder = lock_holder(path)
    return JobRunningError(
        "Job {job} is already using that folder." if holder else "Another job is already using that folder.",
        "Watch it with: fishtune attach {job} – or end it with: fishtune stop {job}",
        job=holder or Message("its id (see: fishtune jobs --all)"),
    )


def lock_holder(path: Path) -> str:
    """Return the id of the job that a lock file names, or "" if it does not say."""
    for _ in range(50):  # the winner writes its name soon after it won
        try:
            holder = parse_json(read_regular(path, _LONGEST_NAME), str(path))["job"]
            return holder if isinstance(holder, str) else ""
        except (MalformedFileError, KeyError, TypeError):
            time.sleep(0.01)
        except FishtuneError:
            return ""
    return ""
