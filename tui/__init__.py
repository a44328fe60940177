"""The wizard `fishtune-tui`.

Importing this package costs nothing: Textual is loaded only once a screen is going to be shown.
"""

from __future__ import annotations


def main() -> None:
    """Run `fishtune-tui`; exits with 0 (left), 1 (failed) or 2 (wrong use, unsuitable terminal)."""
    from .start_up import run

    raise SystemExit(run())
