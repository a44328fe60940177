"""`fishtune doctor`."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.text import Text

from ..units import format_count
from .console import out, print_json
from .options import Json

_MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


def doctor(json: Json = False) -> None:
    """Check what this machine has: versions, GPU and driver, torch, disk, memory, hub token, audio, terminal.

    Each check is ok, a warning or a failure with what to do. The exit code is 1 if any failed.

    Example: fishtune doctor
    """
    from ..hardware.doctor.check import Status
    from ..hardware.doctor.examine import examine

    checks = []
    for check in examine(Path.cwd()):
        checks.append(check)
        if json:
            continue
        mark, style = _MARKS[check.status]
        out.print(Text.assemble((mark, style), f" {check.status:4}  {check.name}: {check.message}"))
        if check.hint:
            out.print(Text(f"          → {check.hint}"))
    failed = sum(check.status is Status.FAIL for check in checks)
    warned = sum(check.status is Status.WARN for check in checks)
    if json:
        print_json(
            {"failed": failed, "warned": warned, "checks": [c.model_dump(mode="json") for c in checks]}
        )
    else:
        out.print(f"\n{format_count(len(checks), 'check')}: {failed} failed, {warned} to look at")
    if failed:
        raise typer.Exit(1)
