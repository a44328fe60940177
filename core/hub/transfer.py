"""Files of the hub on this disk: needed files only, resumable, every byte checked.

`huggingface_hub` speaks with the hub (metadata, tokens, redirects, transfer with retries). Since its
version 2 it keeps no partial file beyond a process, so the partial file and its resumption are ours: a
file of 1.9 GB over a link that drops must not begin anew. A partial file carries the hub's ETag in its
name and is never continued with another version's bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from ..errors import DownloadError, FishtuneError, StorageError
from ..events import ProgressMeter, Reporter
from ..files import fsync_folder, sha256, storage_errors, write_text
from ..messages import Message
from ..reading import blocks
from ..tables import read_json
from .client import RemoteFile, hub_errors, remote_files

RECORD_FILE = ".fishtune-download.json"
PARTIAL_FOLDER = ".fishtune-partial"
_UNKNOWN_SIZE_RESERVE = 1 << 30
"""Bytes that stay free on the disk where a server does not say how large a file is."""
_STOPPED = Message("The part that has arrived is kept; the same command continues there.")


class DownloadedFile(BaseModel):
    """One file as it was when it was checked."""

    etag: str
    bytes: int
    modified_ns: int


class DownloadRecord(BaseModel):
    """What lies in a folder and where it came from (`.fishtune-download.json`)."""

    repository: str
    revision: str
    licence: str = ""
    files: dict[str, DownloadedFile] = {}


class DownloadResult(BaseModel):
    """What `fetch` did."""

    directory: Path
    repository: str
    revision: str
    downloaded: list[str]
    present: list[str]
    bytes: int


def fetch(
    directory: Path,
    repository: str,
    names: Sequence[str],
    reporter: Reporter,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    licence: str = "",
    digests: Mapping[str, str] | None = None,
    optional: Collection[str] = (),
    inspect: Callable[[Path], None] | None = None,
) -> DownloadResult:
    """Bring files of a repository into a folder, where they are not there yet; return what was done.

    Every file is of one revision and checked against the hub's hash before it takes its name. A file
    that is there and differs from the hub's is never replaced unless this tool downloaded it.

    Args:
        revision: None = the newest.
        endpoint: address of a mirror; None = `HF_ENDPOINT`, or the hub's own.
        digests: SHA-256 that files must have, whatever the hub says.
        optional: files that the repository may lack.
        inspect: looks at the folder, before any transfer and after each file, and may refuse what it holds.

    Raises:
        DownloadError: no token, licence not accepted, no such repository, no network, wrong content.
        StorageError: not enough room on the disk.
        StopRequested: asked to stop; the partial file is kept.
    """
    digests = digests or {}
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    record = read_record(directory)
    if record is not None and record.repository != repository:
        raise DownloadError(
            "{directory} holds {repository}, not {wanted}.",
            "Choose another --local-dir.",
            directory=directory,
            repository=record.repository,
            wanted=repository,
        )
    remote, revision = remote_files(
        repository, list(names), optional=optional, revision=revision, endpoint=endpoint
    )
    record = DownloadRecord(
        repository=repository,
        revision=revision,
        licence=licence,
        files=record.files if record else {},
    )
    missing = []
    for file in remote:
        reporter.check_stop(_STOPPED)
        if not _is_present(directory, file, record, reporter, digests.get(file.name)):
            missing.append(file)
    _check_room(directory, missing)
    if inspect is not None:
        inspect(directory)
    for file in missing:
        _fetch(directory, file, repository, reporter, digests.get(file.name))
        _remember(directory, file, record)
        if inspect is not None:
            inspect(directory)
    _write_record(directory, record)
    return DownloadResult(
        directory=directory,
        repository=repository,
        revision=revision,
        downloaded=[file.name for file in missing],
        present=[file.name for file in remote if file not in missing],
        bytes=sum(file.size or 0 for file in missing),
    )


def is_complete(directory: Path, repository: str, names: Sequence[str], revision: str) -> bool:
    """Return whether a folder holds these files of that revision, as far as its record and names tell.

    The hub is not asked, so a model that is there works without network.
    """
    record = read_record(directory)
    if record is None or (record.repository, record.revision) != (repository, revision):
        return False
    return all(_is_as_recorded(directory / name, record.files.get(name)) for name in names)


def adopt(
    directory: Path, repository: str, digests: Mapping[str, str], revision: str, licence: str = ""
) -> bool:
    """Return whether a folder holds these files, put there by hand, and remember them then.

    Args:
        digests: SHA-256 that each file must have; "" where any content will do.
    """
    if not all((directory / name).is_file() for name in digests):
        return False
    if any(digest and sha256(directory / name) != digest for name, digest in digests.items()):
        return False
    record = DownloadRecord(repository=repository, revision=revision, licence=licence)
    for name, digest in digests.items():
        status = (directory / name).stat()
        record.files[name] = DownloadedFile(etag=digest, bytes=status.st_size, modified_ns=status.st_mtime_ns)
    _write_record(directory, record)
    return True


def _is_as_recorded(file: Path, known: DownloadedFile | None) -> bool:
    try:
        status = file.stat()
    except OSError:
        return False
    return known is not None and (known.bytes, known.modified_ns) == (status.st_size, status.st_mtime_ns)


def read_record(directory: Path) -> DownloadRecord | None:
    """Return what an earlier download wrote down, or None if there is nothing readable."""
    try:
        return DownloadRecord.model_validate(read_json(directory / RECORD_FILE))
    except (FishtuneError, ValidationError):
        return None


def _write_record(directory: Path, record: DownloadRecord) -> None:
    write_text(directory / RECORD_FILE, record.model_dump_json(indent=2) + "\n")


def _remember(directory: Path, remote: RemoteFile, record: DownloadRecord) -> None:
    status = (directory / remote.name).stat()
    record.files[remote.name] = DownloadedFile(
        etag=remote.etag, bytes=status.st_size, modified_ns=status.st_mtime_ns
    )
    _write_record(directory, record)


def _is_present(
    directory: Path, remote: RemoteFile, record: DownloadRecord, reporter: Reporter, digest: str | None
) -> bool:
    target = directory / remote.name
    if not target.exists():
        return False
    status = target.stat()
    known = record.files.get(remote.name)
    if known is not None and (known.bytes, known.modified_ns) != (status.st_size, status.st_mtime_ns):
        known = None  # changed since we wrote it
    if known is not None and known.etag == remote.etag:
        return True
    if remote.size in (None, status.st_size) and _content_matches(target, digest or remote.etag, reporter):
        _remember(directory, remote, record)
        return True
    if known is not None:
        return False  # ours, of an older revision
    raise DownloadError(
        "{file} is there, but it is not the hub's file.",
        "Move it away, or choose another --local-dir; nothing has been changed.",
        file=target,
    )


def _content_matches(path: Path, etag: str, reporter: Reporter) -> bool:
    """Return whether a file has the hub's hash: SHA-256 of large files, git's blob SHA-1 of small ones."""
    size = path.stat().st_size
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", etag):
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    else:
        return True  # a mirror with its own tags: the size is all there is to compare
    meter = ProgressMeter(reporter, Message("checking {file}", file=path.name), size, "bytes")
    with path.open("rb") as file:
        for block in blocks(file):
            reporter.check_stop(_STOPPED)
            digest.update(block)
            meter.advance(len(block))
    return digest.hexdigest() == etag


def _check_room(directory: Path, missing: list[RemoteFile]) -> None:
    partial = directory / PARTIAL_FOLDER
    arrived = sum(file.stat().st_size for file in partial.iterdir()) if partial.is_dir() else 0
    needed = sum(file.size or 0 for file in missing) - arrived
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise StorageError(
            "{directory} has {free:.1f} GB free, but {needed:.1f} GB are still to come.",
            "Free some space, or choose a --local-dir on another disk.",
            directory=directory,
            free=free / 1e9,
            needed=needed / 1e9,
        )


def _fetch(
    directory: Path, remote: RemoteFile, repository: str, reporter: Reporter, digest: str | None
) -> None:
    partial_folder = directory / PARTIAL_FOLDER
    tag = re.sub(r"[^0-9A-Za-z]", "", remote.etag)[:20]
    flat = quote(remote.name, safe="")  # one folder, also for names with "/"
    partial = partial_folder / f"{flat}.{tag}"
    with storage_errors(partial):
        partial_folder.mkdir(exist_ok=True)
        for older in partial_folder.iterdir():
            if older.name.rpartition(".")[0] == flat and older != partial:
                older.unlink()
        _transfer(partial, remote, repository, reporter)
        if not _content_matches(partial, digest or remote.etag, reporter):
            partial.unlink()
            raise DownloadError(
                "{file} arrived damaged: its hash differs from the hub's.",
                "Run the command again; if it happens twice, a proxy is changing the content.",
                file=remote.name,
            )
        target = directory / remote.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)  # noqa: PTH105 - the atomic primitive
        fsync_folder(target.parent)
        if not any(partial_folder.iterdir()):
            partial_folder.rmdir()


def _transfer(partial: Path, remote: RemoteFile, repository: str, reporter: Reporter) -> None:
    import huggingface_hub
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    token = huggingface_hub.get_token()
    with hub_errors(repository, token=token), partial.open("ab") as file:
        arrived = file.tell()
        if remote.size is not None and arrived > remote.size:
            file.truncate(0)
            arrived = 0
        limit = remote.size
        if limit is None:
            limit = arrived + max(shutil.disk_usage(partial.parent).free - _UNKNOWN_SIZE_RESERVE, 0)
        bounded = _BoundedFile(file, limit, remote.name)
        meter = ProgressMeter(reporter, remote.name, remote.size, "bytes", done=arrived)
        # The hub's own address, not the storage host it redirects to: that one's signature expires, and the
        # client drops the token when it follows the redirect.
        http_get(
            remote.url,
            cast("BinaryIO", bounded),
            resume_size=arrived,
            headers=build_hf_headers(token=token or False),
            expected_size=remote.size,
            tqdm_class=_progress_class(meter, reporter),
        )
        file.flush()
        os.fsync(file.fileno())


class _BoundedFile:
    """A file that takes no more than the hub said it would send: a body without end fills no disk."""

    def __init__(self, file: BinaryIO, limit: int, name: str) -> None:
        self._file = file
        self._limit = limit
        self._name = name

    def write(self, block: bytes) -> int:
        if self._file.tell() + len(block) > self._limit:
            raise DownloadError(
                "The server sends more of {name} than it said ({limit:,} bytes).",
                "Run the command again; if it happens twice, the server or a proxy is at fault.",
                name=self._name,
                limit=self._limit,
            )
        return self._file.write(block)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _progress_class(meter: ProgressMeter, reporter: Reporter) -> Any:
    """Return a stand-in for tqdm, the only way `http_get` tells of its progress, that feeds `meter`."""

    class Progress:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            reporter.check_stop(_STOPPED)
            meter.advance(count or 0)

        def close(self) -> None:
            meter.show()

        def __enter__(self) -> Progress:
            return self

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
        ) -> None:
            self.close()

    return Progress
