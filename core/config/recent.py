"""Which projects were worked on here, so that the wizard's start page and `fishtune jobs --all` find them.

One small file a project in `$XDG_STATE_HOME/fishtune/recent`, whose time is the last use: concurrent
processes never overwrite each other's entries.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from ..data_model import DataModel
from ..errors import FishtuneError, StorageError
from ..files import write_text
from ..tables import read_json
from ..user_folders import state_folder
from .project import PROJECT_FILE
from .settings import RunName, UserPath

_LARGEST = 1 << 16  # bytes


class RecentProject(DataModel):
    """A project's runs: `results/NAME`, with its project file where there is one."""

    model_config = ConfigDict(frozen=True)

    results: UserPath
    project: RunName
    used: float = 0.0
    """Unix time of the last use."""

    @property
    def file(self) -> Path | None:
        """The project file, if these runs belong to one."""
        with contextlib.suppress(OSError):
            file = self.results.parent / PROJECT_FILE
            return file if file.is_file() else None
        return None


def remember_project(results: Path, project: str) -> None:
    """Note that a project was used now. A state folder that cannot be written is no error."""
    with contextlib.suppress(OSError, StorageError, ValidationError):  # it may have a name that is no text
        entry = RecentProject(results=results.absolute(), project=project)
        key = hashlib.sha256(f"{entry.results}\0{project}".encode()).hexdigest()[:16]
        write_text(_folder() / f"{key}.json", entry.model_dump_json(exclude={"used"}))


def recent_projects() -> list[RecentProject]:
    """Return the projects that were used, last used first; those that are gone are left out."""
    found = []
    with contextlib.suppress(OSError):
        for file in _folder().glob("*.json"):
            try:
                entry = RecentProject.model_validate(read_json(file, _LARGEST))
                used = file.stat().st_mtime
                is_there = (entry.results / entry.project).is_dir() or entry.file is not None
            except (OSError, FishtuneError, ValidationError):
                continue
            if is_there:
                found.append(entry.model_copy(update={"used": used}))
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def _folder() -> Path:
    return state_folder() / "recent"
