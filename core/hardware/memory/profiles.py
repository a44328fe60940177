"""Profiles by set-up: from the tables that come with fishtune, from earlier accounting here, or made now.

    presets/memory/MODEL.toml              set-ups of published models, made by benchmarks/memory_table.py
    ~/.cache/fishtune/memory/KEY.json      what was accounted here, by set-up and versions

What is kept may be lost or damaged at any time; then it is made anew.
"""

from __future__ import annotations

import functools
import hashlib
import re
import threading
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from .... import presets
from ...errors import FishtuneError, StorageError
from ...files import remove, write_json
from ...tables import parse_toml, read_json, read_toml
from ...user_folders import cache_folder
from .accounting_process import Progress, account
from .profile import Profile
from .setups import Batch, EncodingBatch, Setup, TrainingBatch, fingerprint

_KEPT: Final = 200  # files
_LARGEST: Final = 1 << 16  # bytes; a profile has about 3,000
_SETUP: Final = re.compile(r'^setup = "(\w+)"$', re.MULTILINE)
_one_at_a_time = threading.Lock()


class Check(BaseModel):
    """A peak that was accounted beside those that a profile is made from."""

    model_config = ConfigDict(frozen=True)

    batch: tuple[int, ...]
    """The fields of a `TrainingBatch` or an `EncodingBatch`."""
    bytes: int

    def of(self) -> Batch:
        """Return the batch."""
        return TrainingBatch(*self.batch) if len(self.batch) == 3 else EncodingBatch(*self.batch)


class Entry(BaseModel):
    """A profile in a table."""

    model_config = ConfigDict(frozen=True)

    what: str
    """In words; nothing reads them."""
    setup: str
    """Fingerprint."""
    profile: Profile
    checks: tuple[Check, ...]


class ProfileTable(BaseModel):
    """What comes with fishtune for one model."""

    model_config = ConfigDict(frozen=True)

    versions: dict[str, str]
    """Of the libraries whose allocations were counted."""
    entries: tuple[Entry, ...]


def versions() -> dict[str, str]:
    """Return the versions that a profile depends on."""
    return {name: version(name) for name in ("fishtune", "torch", "peft")}


def profile_tables() -> dict[str, ProfileTable]:
    """Return the tables that come with fishtune, by name."""
    return {path.stem: ProfileTable.model_validate(read_toml(path)) for path in _tables()}


def _tables() -> list[Path]:
    return sorted((Path(presets.__path__[0]) / "memory").glob("*.toml"))


@functools.cache
def _entries() -> dict[str, str]:
    """Return the text of every entry of the tables by its fingerprint.

    The wizard asks for a few of many; all of them read would take 3 MiB of it.
    """
    head = "[[entries]]"
    texts = [head + text for path in _tables() for text in path.read_text(encoding="utf-8").split(head)[1:]]
    return {found[1]: text for text in texts if (found := _SETUP.search(text))}


@functools.cache
def _from_table(name: str) -> Profile | None:
    """Return the profile that comes with fishtune for a fingerprint."""
    text = _entries().get(name)
    return Entry.model_validate(parse_toml(text, name)["entries"][0]).profile if text else None


class Profiles:
    """Finds profiles, and has those made that are unknown.

    Args:
        progress: called between two measurements with how many are done, and how many there are; what it
            raises ends the work.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or (lambda _done, _total: None)
        self._made: dict[str, Profile] = {}

    def known(self, setup: Setup) -> Profile | None:
        """Return a set-up's profile if nothing need be accounted for it."""
        name = setup.fingerprint
        return _from_table(name) or self._made.get(name) or _read(_kept_file(setup))

    def get(self, setup: Setup) -> Profile:
        """Return a set-up's profile; it may have to be made first, which takes seconds to a minute.

        Raises:
            FishtuneError: it cannot be made; says why.
        """
        self.prepare([setup])
        found = self.known(setup)
        assert found is not None
        return found

    def prepare(self, setups: Iterable[Setup]) -> None:
        """Make the profiles of those that are unknown, in one process.

        Raises:
            FishtuneError: one cannot be made; says why.
        """
        wanted = {setup.fingerprint: setup for setup in setups if self.known(setup) is None}
        if not wanted:
            return
        self._progress(0, 0)  # others may have to end first
        with _one_at_a_time:  # another thread may have made them meanwhile
            still = [setup for setup in wanted.values() if self.known(setup) is None]
            for setup, profile in account(still, self._progress):
                self._made[setup.fingerprint] = profile
                _keep(_kept_file(setup), profile)


def _kept_file(setup: Setup) -> Path:
    folder = cache_folder() / "memory"
    return folder / f"{fingerprint(setup, setup.line(), setup.probes(), versions())}.json"


def _read(file: Path) -> Profile | None:
    """Return the profile that is kept in a file, None where there is none or it is damaged."""
    try:
        content = read_json(file, _LARGEST)
        if isinstance(content, dict) and content.get("checksum") == _checksum(content.get("profile")):
            return Profile.model_validate(content["profile"])
    except (FishtuneError, ValidationError):
        pass
    return None


def _keep(file: Path, profile: Profile) -> None:
    content = profile.model_dump(mode="json")
    try:
        write_json(file, {"profile": content, "checksum": _checksum(content)})
        for old in sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            remove(old)
    except (StorageError, OSError):
        return  # it is made again next time; a full disk has its own message elsewhere


def _checksum(profile: Any) -> str:
    return hashlib.sha256(repr(profile).encode()).hexdigest()[:16]
