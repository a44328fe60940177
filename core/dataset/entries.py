"""What lies in one folder of a data set: names that can be used, and which are files and which folders.

One entry that the system refuses, or that is neither file nor folder, becomes a finding; the others count.
Nothing is opened: opening a pipe would wait for ever.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..file_names import is_text, is_usable_name, visible_name
from ..files import TEMPORARY_PREFIX
from ..messages import of_the_system
from ..reading import unreadable
from .findings import Finding, FindingKind, error, warning

Entry = os.DirEntry[str]
# These speak of the disk or the process, not of one entry: what else is there cannot be known either.
_OF_THE_SYSTEM = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@dataclass(slots=True)
class Listing:
    """The entries of a folder that can be used, sorted by name; hidden and temporary ones are left out."""

    files: list[Entry] = field(default_factory=list)
    folders: list[Entry] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Names like those of a data set's files of what is no file, or could not be looked at."""


def list_folder(folder: Path) -> list[Entry]:
    """Return the entries of a folder, sorted by name.

    Raises:
        OSError: it cannot be listed, for a reason that concerns this folder alone.
        StorageError: the disk fails, or the system lacks memory or open files.
    """
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError as failure:
        if failure.errno in _OF_THE_SYSTEM:
            raise unreadable(folder, failure) from failure
        raise


def sort_entries(
    folder: Path, entries: Iterable[Entry], is_ours: Callable[[str], bool], problems: list[Finding]
) -> Listing:
    """Return which entries are files and which are folders; what cannot be used goes to `problems`.

    Args:
        is_ours: whether a name is that of a recording, a transcript or codes.

    Raises:
        StorageError: the disk fails, or the system lacks memory or open files.
    """
    listing = Listing()
    for entry in entries:
        name = entry.name
        if name.startswith((".", TEMPORARY_PREFIX)):
            continue
        if not is_usable_name(name):
            problems.append(_bad_name(folder, name))
            continue
        try:
            if entry.is_file():
                listing.files.append(entry)
            elif entry.is_dir():
                listing.folders.append(entry)
            else:
                entry.stat()  # raises where a link leads nowhere
                if is_ours(name):
                    listing.refused.add(name)
                    problems.append(_not_a_file(Path(entry.path)))
        except OSError as failure:
            if failure.errno in _OF_THE_SYSTEM:
                raise unreadable(Path(entry.path), failure) from failure
            if isinstance(failure, FileNotFoundError):
                if is_ours(name):
                    listing.files.append(entry)  # reading it will say that it leads nowhere
                elif entry.is_symlink():
                    problems.append(_refused(Path(entry.path), failure, is_ours=False))
                continue
            if is_ours(name):
                listing.refused.add(name)
            problems.append(_refused(Path(entry.path), failure, is_ours=is_ours(name)))
    return listing


def link_back(entry: Entry, folders: Iterable[Path]) -> Finding | None:
    """Return a finding if a folder is a link to one of the folders that it lies in, else None."""
    if not entry.is_symlink():
        return None
    for folder in folders:
        try:
            leads_back = os.path.samestat(entry.stat(), folder.stat())
        except OSError:  # listing it will say why
            return None
        if leads_back:
            return warning(
                FindingKind.ENTRY_REFUSED,
                Path(entry.path),
                "{file} is a link back to {folder}; it is not followed.",
                "Remove it.",
                file=entry.path,
                folder=folder,
            )
    return None


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder that is no folder, by name; links to folders are not followed.

    What cannot be listed is passed over.

    Raises:
        StorageError: the disk fails, or the system lacks memory or open files.
    """

    def refuse(failure: OSError) -> None:
        if failure.errno in _OF_THE_SYSTEM:
            raise unreadable(folder, failure) from failure

    for path, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(path, name if is_usable_name(name) else visible_name(name))


def _bad_name(folder: Path, name: str) -> Finding:
    shown = folder / visible_name(name)
    if not is_text(name):
        return error(
            FindingKind.BAD_NAME,
            shown,
            "The name of {file} is not UTF-8.",
            "Rename it, for example with convmv: convmv -r -f CP949 -t UTF-8 --notest FOLDER",
            file=shown,
        )
    return error(
        FindingKind.BAD_NAME,
        shown,
        "The name of {file} has control characters.",
        "Rename it without them.",
        file=shown,
    )


def _not_a_file(path: Path) -> Finding:
    return error(
        FindingKind.NOT_A_FILE,
        path,
        "{file} is a pipe, socket or device, not a file.",
        "Rename or remove it.",
        file=path,
    )


def _refused(path: Path, failure: OSError, *, is_ours: bool) -> Finding:
    kind = error if is_ours else warning
    if failure.errno == errno.ELOOP:
        return kind(
            FindingKind.ENTRY_REFUSED, path, "{file} is a link that leads to itself.", "Remove it.", file=path
        )
    if failure.errno in (errno.ENOENT, errno.ENOTDIR):
        return kind(
            FindingKind.ENTRY_REFUSED,
            path,
            "{file} is a link to something that does not exist.",
            "Remove it, or let it lead to what is meant.",
            file=path,
        )
    return kind(
        FindingKind.ENTRY_REFUSED,
        path,
        "{file} cannot be looked at ({reason}).",
        "Check its permissions and the disk or share that it lies on.",
        file=path,
        reason=of_the_system(failure),
    )
