"""What was heard in clips, kept in the user's cache folder by what the clips hold: nothing is heard twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from ...errors import FishtuneError
from ...files import sha256, write_text
from ...judge.listeners import Impression
from ...tables import read_json

_FORM = 1
"""Counts changes of what is measured; what was kept in another form is heard again."""
_LARGEST = 4 << 20  # bytes


class HeardBefore:
    """Impressions by content.

    Args:
        models: which models listen, by what they judge.
    """

    def __init__(self, models: dict[str, str]) -> None:
        self._models = models
        self._folder = Path(platformdirs.user_cache_dir("fishtune")) / "heard"

    def key(self, clip: Path, language: str | None) -> str:
        """Return the name of what is heard in a clip as it is now. Raises OSError where it is gone."""
        what = [_FORM, sha256(clip), language, sorted(self._models.items())]
        return hashlib.blake2b(json.dumps(what).encode(), digest_size=16).hexdigest()

    def find(self, key: str) -> Impression | None:
        """Return an impression that was kept, None where there is none that can be read."""
        with contextlib.suppress(FishtuneError, ValidationError):
            return Impression.model_validate(read_json(self._file(key), _LARGEST))
        return None

    def keep(self, key: str, impression: Impression) -> None:
        """Keep an impression; nothing happens where that cannot be."""
        with contextlib.suppress(FishtuneError, OSError):
            write_text(self._file(key), impression.model_dump_json(exclude_none=True))

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
