"""The extra `fishtune[judge]`: which of its packages are installed, and what to say where they are not."""

from __future__ import annotations

import importlib.util

from ..errors import UsageError
from ..messages import Message

INSTALL = Message('Install it in the same environment: pip install "fishtune[judge]"')


def is_installed(*modules: str) -> bool:
    """Return whether all of these modules can be found, without importing them."""
    return all(importlib.util.find_spec(module) is not None for module in modules)


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
