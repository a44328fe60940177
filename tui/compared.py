"""Which other run is drawn beside a project's own, so that it still is when the project is opened again."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from ..core.errors import FishtuneError
from ..core.files import write_json
from ..core.tables import read_json
from ..core.user_folders import state_folder

_LARGEST = 1 << 12  # bytes


def compared_run(run_folder: Path) -> str:
    """Return the run that was chosen last, empty for none."""
    with contextlib.suppress(FishtuneError):
        found = read_json(_file(run_folder), _LARGEST)
        return str(found.get("run", "")) if isinstance(found, dict) else ""
    return ""


def remember_compared(run_folder: Path, run: str) -> None:
    """Note a choice. A state folder that cannot be written is no error."""
    with contextlib.suppress(FishtuneError, OSError):
        write_json(_file(run_folder), {"run": run})


def _file(run_folder: Path) -> Path:
    key = hashlib.sha256(str(run_folder.absolute()).encode("utf-8", "replace")).hexdigest()[:16]
    return state_folder() / "compared" / f"{key}.json"
