"""Downloading a base model from the hub: needed files only, resumable, every byte checked.

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
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from ...config.presets import ModelPreset, model_preset, preset_names
from ...config.settings import DownloadSettings
from ...errors import CheckpointError, DownloadError, FishtuneError, StorageError, UsageError
from ...events import ProgressMeter, Reporter
from ...files import fsync_folder, storage_errors, write_text
from ...messages import Message, joined, near
from ...model.families import (
    config_file,
    default_family,
    family_of,
    is_model_directory,
    preset_family,
    supported,
)
from ...tables import read_json
from .hub import RemoteFile, hub_errors, remote_files

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
    """What lies in a checkpoint directory and where it came from (`.fishtune-download.json`)."""

    repository: str
    revision: str
    licence: str = ""
    files: dict[str, DownloadedFile] = {}


class DownloadResult(BaseModel):
    """Result of `run`."""

    directory: Path
    repository: str
    revision: str
    downloaded: list[str]
    present: list[str]
    bytes: int


def run(settings: DownloadSettings, reporter: Reporter) -> DownloadResult:
    """Download the files of a base model that are not there yet; return what was done.

    Every file is of one revision and checked against the hub's hash before it takes its name. A file
    that is there and differs from the hub's is never replaced unless this tool downloaded it.

    Raises:
        DownloadError: no token, licence not accepted, no such repository, no network, wrong content.
        StorageError: not enough room on the disk.
        StopRequested: asked to stop; the partial file is kept.
    """
    preset = resolve_model(settings.name)
    directory = settings.local_dir
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    record = read_record(directory)
    if record is not None and record.repository != preset.repository:
        raise DownloadError(
            "{directory} holds {repository}, not {wanted}.",
            "Choose another --local-dir.",
            directory=directory,
            repository=record.repository,
            wanted=preset.repository,
        )
    remote, revision = remote_files(
        preset.repository,
        preset.files,
        preset_family(preset),
        revision=settings.revision,
        endpoint=settings.endpoint,
    )
    record = DownloadRecord(
        repository=preset.repository,
        revision=revision,
        licence=preset.licence,
        files=record.files if record else {},
    )
    missing = []
    for file in remote:
        reporter.check_stop(_STOPPED)
        if not _is_present(directory, file, record, reporter):
            missing.append(file)
    _check_room(directory, missing)
    _check_family(directory, settings.name)
    for file in missing:
        _fetch(directory, file, preset.repository, reporter)
        _remember(directory, file, record)
        if config_file(directory) == directory / file.name:
            _check_family(directory, settings.name)
    _write_record(directory, record)
    return DownloadResult(
        directory=directory,
        repository=preset.repository,
        revision=revision,
        downloaded=[file.name for file in missing],
        present=[file.name for file in remote if file not in missing],
        bytes=sum(file.size or 0 for file in missing),
    )


def resolve_model(name: str) -> ModelPreset:
    """Return the preset `name`, or one made for a hub repository `owner/name`.

    Raises:
        UsageError: it is neither.
    """
    if name.count("/") == 1:
        for preset_name in preset_names("models"):
            preset = model_preset(preset_name)
            if preset.repository == name:
                return preset
        return ModelPreset(
            description=name,
            repository=name,
            licence="",
            files=list(default_family().files),
        )
    if "/" in name:
        raise UsageError("{name} is not a hub repository.", "Write it as owner/name.", name=repr(name))
    if name not in preset_names("models"):
        names = preset_names("models")
        raise UsageError(
            joined([Message("There is no model preset {name}.", name=repr(name)), near(name, names)]),
            "Supported are {names}, and as owner/name any repository of the {family}.",
            names=", ".join(names),
            family=supported(),
        )
    return model_preset(name)


def _check_family(directory: Path, name: str) -> None:
    """Refuse a kind of model that no family knows, before gigabytes of it are fetched."""
    if not is_model_directory(directory):
        return
    try:
        family_of(directory)
    except CheckpointError as error:
        raise DownloadError(
            "{name} is not a model that fishtune trains: {reason}",
            "Supported is the {families}.",
            name=name,
            reason=error.message,
            families=supported(),
        ) from error


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


def _is_present(directory: Path, remote: RemoteFile, record: DownloadRecord, reporter: Reporter) -> bool:
    target = directory / remote.name
    if not target.exists():
        return False
    status = target.stat()
    known = record.files.get(remote.name)
    if known is not None and (known.bytes, known.modified_ns) != (status.st_size, status.st_mtime_ns):
        known = None  # changed since we wrote it
    if known is not None and known.etag == remote.etag:
        return True
    if remote.size in (None, status.st_size) and _content_matches(target, remote.etag, reporter):
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
        while block := file.read(1 << 24):
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


def _fetch(directory: Path, remote: RemoteFile, repository: str, reporter: Reporter) -> None:
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
        if not _content_matches(partial, remote.etag, reporter):
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
