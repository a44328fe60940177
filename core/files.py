"""Files that are written whole or not at all. How files are read is in `reading`.

A write goes to a temporary name in the same folder, is flushed and fsynced, and then renamed over the
target. A process killed at any instant leaves either the old file or the new one, never a torn one;
what it leaves under a temporary name is recognised by `is_temporary` and swept by `sweep_temporary`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from .errors import StorageError
from .file_names import short_name
from .messages import of_the_system
from .reading import StrPath, system_error

TEMPORARY_PREFIX = ".fishtune-tmp-"
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
_RANDOM_LENGTH = 12
_ASIDE = "old-"
_NEARLY_FULL = 1 << 20  # bytes


def absolute(path: Path) -> Path:
    """Return `path` as an absolute path, without `..` where that names the same place.

    Where links make `folder/..` another place than the folder's name says, the path stays as it is.
    """
    path = path.absolute()
    if ".." not in path.parts:
        return path
    short = Path(os.path.normpath(path))
    return short if short.resolve() == path.resolve() else path


def temporary_path(target: Path) -> Path:
    """Return a fresh temporary name beside `target` (same folder, hence same file system)."""
    target = with_a_name(target)
    random = uuid.uuid4().hex[:_RANDOM_LENGTH]
    return target.with_name(f"{TEMPORARY_PREFIX}{random}-{short_name(target.name)}")


def with_a_name(path: Path) -> Path:
    """Return `path` so that it ends in a name, beside which another can lie: `.` and `..` do not.

    Raises:
        StorageError: it is the root of a disk.
    """
    if path.name in ("", ".."):
        path = path.resolve()
    if not path.name:
        raise StorageError(
            "{file} is the root of a disk and cannot be replaced.", "Name a folder in it.", file=path
        )
    return path


def is_temporary(path: Path) -> bool:
    """Return whether `path` has a name that `temporary_path` gives."""
    return path.name.startswith(TEMPORARY_PREFIX)


def sweep_temporary(folder: Path, *targets: str) -> int:
    """Remove what killed writers left directly in `folder`; return how many entries were removed.

    Call it only while holding the lock of the stage that writes there.

    Args:
        targets: names of the entries that the stage writes there, where others write others; none = all.
    """
    removed = 0
    if not folder.is_dir():
        return removed
    names = {short_name(target) for target in targets}
    for entry in folder.iterdir():
        if is_temporary(entry) and (not targets or _target_in(entry.name) in names):
            remove(entry)
            removed += 1
    return removed


def sweep_targets(targets: Iterable[Path]) -> None:
    """Remove what killed writers of `targets` left beside them; likewise under the stage's lock."""
    names: dict[Path, list[str]] = defaultdict(list)
    for target in targets:
        names[target.parent].append(target.name)
    for folder, own in names.items():
        sweep_temporary(folder, *own)


def _target_in(temporary: str) -> str:
    """Return what a name of `temporary_path` says about its target."""
    rest = temporary.removeprefix(TEMPORARY_PREFIX)
    return rest.removeprefix(_ASIDE) if rest.startswith(_ASIDE) else rest[_RANDOM_LENGTH + 1 :]


def remove(path: Path) -> None:
    """Remove a file, link or whole folder; nothing happens if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn whatever the system refuses while `path` is written into `StorageError`.

    An error that names another file, which was read for it, passes unchanged: it says nothing about
    `path`. Reading whose errors name no file (a `read` that fails) belongs in `reading`, inside.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or not _is_about(path, error):
            raise
        if error.errno in _FULL_DISK:
            raise StorageError(
                "The disk is full: {file} could not be written.",
                "Free some space on that disk and run the command again; what is already done is kept.",
                file=path,
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(
                "{file} could not be written: no permission.",
                "Choose another folder or change its permissions.",
                file=path,
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StorageError(
                "{file} could not be written: a file is in the place of its folder.",
                "Choose another folder, or move that file away.",
                file=path,
            ) from error
        if error.errno == errno.ENOENT:
            raise StorageError(
                "{file} could not be written: its folder is gone.",
                "Check that the disk is still mounted and the folder still exists.",
                file=path,
            ) from error
        raise StorageError(
            "{file} could not be written: {reason}.",
            "Check the disk or the network share it lies on, and run the command again.",
            file=path,
            reason=of_the_system(error) or error,
        ) from error


def _is_about(path: Path, error: OSError) -> bool:
    """Whether an error can be about writing `path`: it names it, its folders, what lies in it, or nothing."""
    names = [
        name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    ]
    if not names:
        return True
    path = path.absolute()
    for named in (Path(os.fsdecode(name)).absolute() for name in names):
        if named in (path, *path.parents) or path in named.parents:
            return True
        ours = [part for part in (named, *named.parents) if part.name.startswith(TEMPORARY_PREFIX)]
        if any(part.parent in path.parents for part in ours):
            return True
    return False


@contextlib.contextmanager
def _library_errors(path: Path) -> Iterator[None]:
    """Turn what libraries make of the system's refusals while they write `path` into an `OSError`."""
    try:
        yield
    except Exception as error:
        number = _refusal_in(error, path)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _refusal_in(error: Exception, path: Path) -> int | None:
    """Return the system's error number behind an error of safetensors or torch; None if there is none."""
    is_torchs = isinstance(error, RuntimeError) and "inline_container" in str(error)
    if not is_torchs and type(error).__name__ != "SafetensorError":
        return None
    cause: BaseException | None = error
    while cause is not None:  # torch's writer reports what the file raised as a failed check of its own
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause.errno
        cause = cause.__cause__ or cause.__context__
    if not is_torchs:
        told = system_error(error)
        return told.errno if told is not None else None
    with contextlib.suppress(OSError):
        if shutil.disk_usage(path.parent).free < _NEARLY_FULL:
            return errno.ENOSPC
    return errno.EIO


def check_writable(target: Path) -> None:
    """Refuse a target that could not be written, before work is put into what it shall hold.

    Raises:
        StorageError: no rights, a file in the place of a folder, a full disk.
    """
    folder = next(parent for parent in with_a_name(target).absolute().parents if parent.exists())
    probe = temporary_path(folder / target.name)
    with storage_errors(target):
        try:
            probe.touch()
        finally:
            if folder.is_dir():
                probe.unlink(missing_ok=True)


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; does nothing where folders cannot be opened (Windows)."""
    with contextlib.suppress(OSError, PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path to write; on success it is fsynced and renamed to `target`.

    The parent folder is made. On any exception the temporary file is removed and `target` is untouched.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with storage_errors(target), _library_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(target)
        try:
            yield temporary
            descriptor = os.open(temporary, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)  # noqa: PTH105 - the atomic primitive, named as such
        except BaseException:
            remove(temporary)
            raise
        fsync_folder(target.parent)


@contextlib.contextmanager
def atomic_open(target: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that becomes `target` when the block ends without an exception."""
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()


def write_bytes(target: Path, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_open(target) as file:
        file.write(content)


def write_text(target: Path, content: str) -> None:
    """Write `content` to `target` as UTF-8, atomically."""
    try:
        encoded = content.encode("utf-8")
    except UnicodeEncodeError as error:  # a path of such bytes arrives as half of a surrogate pair
        raise StorageError(
            "{target} could not be written: a name in it is not UTF-8.",
            "Rename the folder or file with that name.",
            target=target,
        ) from error
    write_bytes(target, encoded)


def update_text(target: Path, content: str) -> None:
    """Write `content` to a file of the user's own, atomically: a link stays a link, rights stay as they are.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with storage_errors(target):
        real = target.resolve()
        mode = stat.S_IMODE(real.stat().st_mode) if real.exists() else None
    with atomic_path(real) as temporary:
        if mode is not None:
            temporary.touch(mode=mode & 0o600)  # nobody reads it before it has its rights
        temporary.write_text(content, encoding="utf-8", newline="")
        if mode is not None:
            temporary.chmod(mode)


def write_json(target: Path, content: Any) -> None:
    """Write `content` to `target` as indented UTF-8 JSON, atomically."""
    write_text(target, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a new temporary folder that takes the place of `target` when the block ends well.

    An existing `target` is moved aside, replaced and only then removed, so a crash leaves the old folder
    or the new one. (Between the two renames `target` is absent for an instant; `recover_folder` puts the
    old one back if the process died exactly there.)
    """
    target = with_a_name(target)
    with storage_errors(target), _library_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(target)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    descriptor = os.open(file, os.O_RDONLY)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
            fsync_folder(temporary)
            old = _aside(target)
            if target.exists():
                remove(old)
                target.rename(old)
            temporary.rename(target)
        except BaseException:
            remove(temporary)
            _put_back(target)
            raise
        fsync_folder(target.parent)
        remove(old)


def _aside(target: Path) -> Path:
    target = with_a_name(target)
    return target.with_name(f"{TEMPORARY_PREFIX}{_ASIDE}{short_name(target.name)}")


def recover_folder(target: Path) -> None:
    """Undo what killed writers of `target` left: the old folder is put back, half-written ones are removed.

    Call it only while holding the lock of the stage that writes there.
    """
    _put_back(target)
    sweep_targets([target])


def _put_back(target: Path) -> None:
    """Put the old folder back if a writer died between the two renames of `atomic_folder`."""
    old = _aside(target)
    if old.exists() and not target.exists():
        old.rename(target)


def size_and_time(path: StrPath) -> tuple[int, int] | None:
    """Return the bytes of a file and when it was written, in nanoseconds; None where nothing can be told."""
    try:
        status = os.stat(path)  # noqa: PTH116 - asked for each of a hundred thousand clips
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as lowercase hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
