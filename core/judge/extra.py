"""The extra `fishtune[judge]`: which of its packages are installed, where its models are, and what is said
where they are not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import platformdirs

from ..errors import UsageError
from ..messages import Message

INSTALL = Message('Install it in the same environment: pip install "fishtune[judge]"')


def is_installed(*modules: str) -> bool:
    """Return whether all of these modules can be found, without importing them."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


def models_folder() -> Path:
    """Return where models that listen are kept."""
    return Path(platformdirs.user_cache_dir("fishtune")) / "models"


def can_listen() -> bool:
    """Return whether words can be judged here: the extra is installed, and a model at hand or to be had."""
    if not is_installed("faster_whisper", "num2words", "onnxruntime"):
        return False
    if any((models_folder() / "recognition").glob("*/model.bin")):
        return True
    from huggingface_hub import constants  # a second, where nothing else needs it

    return not constants.HF_HUB_OFFLINE


def require(what: str, *modules: str) -> None:
    """Refuse to go on without packages of the extra.

    Args:
        what: that needs them, for the message ("Recognition").

    Raises:
        UsageError: one is missing.
    """
    missing = [module for module in modules if not is_installed(module)]
    if missing:
        raise UsageError(
            "{what} needs {missing}, which is not installed.", INSTALL, what=what, missing=", ".join(missing)
        )
