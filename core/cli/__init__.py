"""The command line `fishtune`: one module a group of commands, engine imports inside the commands."""

from __future__ import annotations


def main() -> None:
    """Run `fishtune`; exits with 0 (done), 1 (failed) or 2 (wrong use)."""
    from .app import run

    raise SystemExit(run())
