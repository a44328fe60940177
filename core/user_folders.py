"""Where fishtune keeps what is a user's own on this machine, beside no project: by XDG's rules on Linux."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import platformdirs

_NAME: Final = "fishtune"


def config_folder() -> Path:
    """Return the folder for what a user sets."""
    return Path(platformdirs.user_config_dir(_NAME))


def state_folder() -> Path:
    """Return the folder for what fishtune remembers of this user's machine."""
    return Path(platformdirs.user_state_dir(_NAME))


def cache_folder() -> Path:
    """Return the folder for what can be made, or fetched, again."""
    return Path(platformdirs.user_cache_dir(_NAME))


def cache_file(kind: str, of: Path, extension: str) -> Path:
    """Return where what is known of one file or folder is kept, by its path.

    Args:
        kind: folder of the cache.
        of: as it is to be told from others: absolute, and resolved if links do not count.
    """
    digest = hashlib.blake2b(os.fsencode(of), digest_size=12).hexdigest()
    return cache_folder() / kind / f"{digest}{extension}"
