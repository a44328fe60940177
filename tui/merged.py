"""What a merge made: its proof, and how to use it. No Textual here."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from rich.text import Text

from ..core.config.project import Project, merge_record_path
from ..core.config.settings import CODEC_FILE
from ..core.errors import FishtuneError
from ..core.tables import read_json
from .catalogue import _
from .wording import harmless, percent


def merge_record(project: Project) -> dict[str, Any] | None:
    """Return what lies on record of the merged directory, as a merge's result tells it; None without one."""
    try:
        found = read_json(merge_record_path(project.merged)) if project.merged.is_dir() else None
    except FishtuneError:
        return None
    if not isinstance(found, dict):
        return None
    return {"output": str(project.merged), "verification": found.get("verification")}


def use_command(merged: Path) -> str:
    """Return the command that speaks with a merged model."""
    return f"fishtune synth --checkpoint {shlex.quote(str(merged))} --text 'Hello.' --out hello.wav"


def result_text(summary: dict[str, Any]) -> Text:
    """Return the verification of a merge and how to use what it made."""
    text = Text()
    output = Path(str(summary.get("output", "")))
    verification = _table(summary.get("verification"))
    text.append(_("Merged and verified") + "\n", style="bold")
    merged, effect = _table(verification.get("merged")), _table(verification.get("effect"))
    rows = [
        (_("same token as base + adapter"), percent(_number(merged, "same_token"))),
        (_("same codes as base + adapter"), percent(_number(merged, "same_code"))),
        (_("difference by rounding"), _share(_number(merged, "relative_difference"))),
        (_("what the adapter changes"), _share(_number(effect, "relative_difference"))),
        (_("kept after rounding"), percent(_number(verification, "captured"))),
    ]
    for name, value in rows:
        text.append(f"  {value:>9}  {name}\n")
    text.append("\n" + _("Speak with it") + "\n", style="bold")
    text.append(f"{harmless(use_command(output))}\n")
    text.append(_("With a reference clip: --ref-audio CLIP --ref-text 'its words'") + "\n")
    text.append(_("With fish-speech") + "\n", style="bold")
    text.append(
        f"python -m tools.api_server --llama-checkpoint-path {harmless(shlex.quote(str(output)))} "
        f"--decoder-checkpoint-path {harmless(shlex.quote(str(output / CODEC_FILE)))}\n"
    )
    return text


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(table: dict[str, Any], name: str) -> float | None:
    value = table.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    if 0 < value < 0.0001:
        return "< 0.01 %"
    return f"{100 * value:,.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"
