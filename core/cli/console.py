"""Output of commands: rich on a terminal, plain lines elsewhere, JSON where asked."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ..errors import FishtuneError
from ..terminal import json_text, visible, visible_line

_SHOWN = 20


class SafeConsole(Console):
    """A console on which all text is shown and none is obeyed, wherever it came from.

    Plain texts: markup and highlighting are off, since transcripts contain [brackets].
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; texts are made visible before they are measured and laid out."""
        super().print(*(visible(item) if isinstance(item, str) else item for item in objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does; what tables, bars and other compositions hold is made visible here."""
        for segment in super().render(renderable, options):
            # What rich itself tells the terminal has control codes and no text.
            yield segment if segment.control else segment._replace(text=visible(segment.text))


# soft_wrap: paths stay copyable in one piece.
out = SafeConsole(soft_wrap=True)
err = SafeConsole(stderr=True, soft_wrap=True)


def print_error(error: FishtuneError) -> None:
    """Write an error's message and hint to standard error."""
    _print_trouble(Text("error: ", style="bold red"), error)


def print_warning(error: FishtuneError) -> None:
    """Write to standard error what is wrong, where the command does its work all the same."""
    _print_trouble(Text("warning: ", style="bold yellow"), error)


def _print_trouble(line: Text, error: FishtuneError) -> None:
    line.append(visible_line(error.message), style="not bold default")
    err.print(line)
    if error.hint:
        err.print(Text(f"  → {visible_line(error.hint)}"))


def print_json(content: Any, *, indent: int | None = 2) -> None:
    """Write `content` as JSON to standard output."""
    sys.stdout.write(json_text(content, indent) + "\n")


def print_left_out(findings: Sequence[Mapping[str, Any]]) -> None:
    """Write what a stage found in the data set and does not use (findings as JSON)."""
    for finding in findings[:_SHOWN]:
        out.print(f"left out: {finding['what']}\n  → {finding['what_to_do']}")
    if len(findings) > _SHOWN:
        out.print(f"… and {len(findings) - _SHOWN} more (all of them: --json)")
