"""What was heard in clips, kept in the user's cache folder by what the clips hold: nothing is heard twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from ..errors import FishtuneError
from ..files import sha256, write_text
from ..tables import read_json
from ..user_folders import cache_folder
from .listeners import Impression
from .recognition import Heard

_FORM = 2
"""Counts changes of what is measured; what was kept in another form is heard again."""
_LARGEST = 4 << 20  # bytes


class HeardBefore:
    """Impressions by content.

    Args:
        models: which models listen, by what they judge.
    """

    def __init__(self, models: dict[str, str]) -> None:
        self._models = models

    def key(self, clip: Path, language: str | None) -> str:
        """Return the name of what is heard in a clip as it is now. Raises OSError where it is gone."""
        how = json.dumps([_FORM, language, sorted(self._models.items())]).encode()
        return f"{sha256(clip)}-{hashlib.blake2b(how, digest_size=8).hexdigest()}"

    def find(self, key: str) -> Impression | None:
        """Return an impression that was kept, None where there is none that can be read."""
        return _read(_file(key))

    def keep(self, key: str, impression: Impression) -> None:
        """Keep an impression; nothing happens where that cannot be."""
        with contextlib.suppress(FishtuneError, OSError):
            write_text(_file(key), impression.model_dump_json(exclude_none=True))


def words_heard(clip: Path) -> Heard | None:
    """Return the words that were last heard in a clip as it is now, by whatever model; None if none were.

    Raises OSError where the clip is gone.
    """
    key = _file(f"{sha256(clip)}-*")
    with contextlib.suppress(OSError):
        for file in sorted(key.parent.glob(key.name), key=lambda file: file.stat().st_mtime_ns, reverse=True):
            impression = _read(file)
            if impression is not None and impression.heard is not None and impression.heard.words:
                return impression.heard
    return None


def _read(file: Path) -> Impression | None:
    with contextlib.suppress(FishtuneError, ValidationError):
        return Impression.model_validate(read_json(file, _LARGEST))
    return None


def _file(key: str) -> Path:
    return cache_folder() / "heard" / key[:2] / f"{key}.json"
