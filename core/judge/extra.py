"""The extras `fishtune[judge]` and `fishtune[prepare]`: which packages are installed, and what to say where
they are not."""

from __future__ import annotations

import importlib.util

from ..errors import UsageError
from ..messages import Message

INSTALL = Message('Install it in the same environment: pip install "fishtune[judge]"')
PREPARE = Message('Install it in the same environment: pip install "fishtune[prepare]"')


def is_installed(*modules: str) -> bool:
    """Return whether all of these modules can be found, without importing them."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


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
