"""Output of commands: rich on a terminal, plain lines elsewhere, JSON where asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ..errors import FishtuneError

# soft_wrap: paths stay copyable in one piece; markup and highlight off: transcripts contain [brackets].
out = Console(markup=False, highlight=False, soft_wrap=True)
err = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
_SHOWN = 20


def print_error(error: FishtuneError) -> None:
    """Write an error's message and hint to standard error."""
    line = Text("error: ", style="bold red")
    line.append(error.message, style="not bold default")
    err.print(line)
    if error.hint:
        err.print(Text(f"  → {error.hint}"))


def print_json(content: Any) -> None:
    """Write `content` as JSON to standard output."""
    sys.stdout.write(json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def print_left_out(findings: Sequence[Mapping[str, Any]]) -> None:
    """Write what a stage found in the data set and does not use (findings as JSON)."""
    for finding in findings[:_SHOWN]:
        out.print(f"left out: {finding['what']}\n  → {finding['what_to_do']}")
    if len(findings) > _SHOWN:
        out.print(f"… and {len(findings) - _SHOWN} more (all of them: --json)")
