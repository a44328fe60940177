"""Secrets, kept out of what is written: passwords in addresses and access tokens."""

from __future__ import annotations

import os
import re
from typing import Any, Final

HIDDEN: Final = "***"
_USER_PART: Final = re.compile(r"(?<=://)[^/\s@\"'\\]+(?=@)")
_TOKEN: Final = re.compile(r"\bhf_[A-Za-z0-9]{16,}|(?i:(?<=bearer ))\S{8,}")
_SIGNED: Final = re.compile(r"(?i)(?<=[?&])((?:token|signature|key|x-amz-[a-z-]+)=)[^&\s\"']+")
"""Keys in an address, as storage hosts sign theirs."""
_VARIABLES: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY")
_SHORTEST: Final = 8


_hidden: set[str] = set()


def hide(secret: str) -> None:
    """Keep a secret of the settings out of whatever this process writes from now on."""
    _hidden.add(secret)


def redacted(text: str) -> str:
    """Return `text` without the user part of addresses, without tokens of the hub and of this environment."""
    # A report may have megabytes, and a plain search takes a hundredth of a pattern's time.
    if "://" in text:
        text = _USER_PART.sub(HIDDEN, text)
    if "hf_" in text or "bearer " in text.lower():
        text = _TOKEN.sub(HIDDEN, text)
    if "=" in text:
        text = _SIGNED.sub(rf"\1{HIDDEN}", text)
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    for secret in _hidden:
        text = text.replace(secret, HIDDEN)
    return text


def redacted_content(content: Any) -> tuple[Any, dict[str, str]]:
    """Return JSON content with every text redacted, and what stood in the place of each that was changed."""
    secrets: dict[str, str] = {}

    def redact(text: str) -> str:
        result = redacted(text)
        if result != text:
            secrets[result] = text
        return result

    return _mapped(content, redact), secrets


def restored(content: Any, secrets: dict[str, str]) -> Any:
    """Return the content that `redacted_content` was given."""
    return _mapped(content, lambda text: secrets.get(text, text))


def _mapped(content: Any, change: Any) -> Any:
    if isinstance(content, str):
        return change(content)
    if isinstance(content, list):
        return [_mapped(item, change) for item in content]
    if isinstance(content, dict):
        return {key: _mapped(value, change) for key, value in content.items()}
    return content
