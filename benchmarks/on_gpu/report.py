"""`gpu.json` and `gpu.md`: whole at every moment, whatever happens to the measurement next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fishtune.core.files import write_json, write_text

from .running import Outcome, Row

_ABSENT = "–"


class Report:
    """Writes what is known so far.

    Args:
        folder: gets `gpu.json` and `gpu.md`.
        about: what the report begins with: how the measurement was asked for.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self._folder = folder
        self._about = {"begun": time.strftime("%Y-%m-%d %H:%M:%S %z"), **about}

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write both files, each whole or not at all."""
        write_json(self._folder / "gpu.json", {**self._about, "parts": [asdict(each) for each in outcomes]})
        write_text(self._folder / "gpu.md", as_page(self._about, outcomes))


def as_page(about: dict[str, Any], outcomes: Sequence[Outcome]) -> str:
    """Return the report as Markdown: an overview, then a table per part."""
    lines = ["# Measured on a GPU", ""]
    lines += [f"- {name}: {_shown(value)}" for name, value in about.items()]
    lines += ["", *_table([_overview(outcome) for outcome in outcomes])]
    for outcome in outcomes:
        if outcome.rows:
            lines += ["", f"## {outcome.part}", "", *_table(outcome.rows)]
    return "\n".join(lines) + "\n"


def _overview(outcome: Outcome) -> Row:
    wrong = [str(row.get("what", "")) for row in outcome.rows if not row.get("passed", True)]
    remark = "; ".join(
        filter(None, [outcome.error, f"not as it must be: {', '.join(wrong)}" if wrong else ""])
    )
    return {"part": outcome.part, "state": outcome.state, "seconds": outcome.seconds, "remark": remark}


def _table(rows: Sequence[Row]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_shown(row.get(name)) for name in columns] for row in rows]
    return [_line(columns), _line(["---"] * len(columns)), *map(_line, cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _shown(value: Any) -> str:
    if value is None or value == "":
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
