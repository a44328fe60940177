"""The extras `fishtune[judge]` and `fishtune[prepare]`: which of their packages are installed, where their
models are, and what is said where they are not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import UsageError
from ..messages import Message
from ..user_folders import cache_folder

INSTALL = Message('Install it in the same environment: pip install "fishtune[judge]"')
PREPARE = Message('Install it in the same environment: pip install "fishtune[prepare]"')


def is_installed(*modules: str) -> bool:
    """Return whether all of these modules can be found, without importing them."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


def models_folder() -> Path:
    """Return where models that listen are kept."""
    return cache_folder() / "models"


def can_listen() -> bool:
    """Return whether words can be judged here: the extra is installed, and a model at hand or to be had."""
    if not is_installed("faster_whisper", "num2words", "onnxruntime"):
        return False
    if any((models_folder() / "recognition").glob("*/model.bin")):
        return True
    from huggingface_hub import constants  # a second, where nothing else needs it

    return not constants.HF_HUB_OFFLINE


def require(what: str, *modules: str, install: Message = INSTALL) -> None:
    """Refuse to go on without packages of an extra.

    Args:
        what: that needs them, for the message ("Recognition").
        install: how to get them.

    Raises:
        UsageError: one is missing.
    """
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        raise UsageError(
            "{what} needs {missing}, which is not installed.", install, what=what, missing=", ".join(missing)
        )
