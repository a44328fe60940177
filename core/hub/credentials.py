"""Whether somebody is logged in to the model hub, without loading the hub's library."""

from __future__ import annotations

import os
from pathlib import Path


def token_is_set() -> bool:
    """Whether a download would find a token where `huggingface_hub.get_token` looks: variables, a file."""
    if any(os.environ.get(name, "").strip() for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")):
        return True
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    file = Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
    try:
        return bool(file.read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return False
