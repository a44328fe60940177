"""`fishtune validate`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from ..config.project import DatasetOptions, Project
from ..config.settings import ValidateSettings
from ..dataset.findings import Severity
from ..dataset.layout import list_root
from ..units import format_duration
from .console import out
from .options import Given, Json, takes
from .running import project_settings, run_stage

_ELSEWHERE = {"data": DatasetOptions().path}
_SHOWN_OF_A_KIND = 10


@takes(ValidateSettings, of_project=["data", "text_extension"], elsewhere=_ELSEWHERE)
def validate(given: Given, json: Json = False) -> None:
    """Check a data set: layout, transcripts, recordings. Writes nothing; exits with 1 if there are errors.

    Expected: recordings as DATA/SPEAKER/NAME.mp3 (or .wav, .flac), their words in DATA/SPEAKER/NAME.lab.
    Folders inside a speaker's are read too, one level: DATA/SPEAKER/BOOK/NAME.mp3.
    Errors keep a clip from being used; warnings are worth a look.

    Example: fishtune validate data
    """
    settings = project_settings(ValidateSettings, Project.validate_settings, _ELSEWHERE, "data", **given)
    list_root(settings.data)
    report = run_stage("validate", settings, json=json)
    if report is None:
        return
    errors = sum(finding["severity"] == Severity.ERROR for finding in report["findings"])
    if not json:
        _print(report, errors)
    if errors:
        raise typer.Exit(1)


def _print(report: dict[str, Any], errors: int) -> None:
    if report["speakers"]:
        out.print(_speakers(report["speakers"]), soft_wrap=False)
        out.print()
    shown: Counter[str] = Counter()
    totals = Counter(finding["code"] for finding in report["findings"])
    for finding in report["findings"]:
        code = finding["code"]
        shown[code] += 1
        if shown[code] <= _SHOWN_OF_A_KIND:
            is_error = finding["severity"] == Severity.ERROR
            line = Text(f"{finding['severity']}: ", style="bold red" if is_error else "bold yellow")
            line.append(f"{finding['path']}\n", style="not bold default")
            line.append(f"  {finding['what']}\n  → {finding['what_to_do']}", style="not bold default")
            out.print(line)
        elif shown[code] == totals[code]:
            out.print(f"  … and {totals[code] - _SHOWN_OF_A_KIND} more of this kind (all: --json)")
    warnings = len(report["findings"]) - errors
    out.print(
        f"{report['clips']} clips, {format_duration(report['seconds'])}: "
        f"{errors} error{'' if errors == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}"
    )


def _speakers(speakers: list[dict[str, Any]]) -> Table:
    view = Table(box=None, pad_edge=False)
    for heading in ("speaker", "clips", "length", "median clip", "loudness"):
        view.add_column(heading, justify="left" if heading == "speaker" else "right", no_wrap=True)
    for speaker in speakers:
        level = speaker["loudness"]
        view.add_row(
            Text(speaker["speaker"]),
            f"{speaker['clips']:,}",
            format_duration(speaker["seconds"]),
            f"{speaker['median_seconds']:.1f} s",
            "–" if level is None else f"{level:.1f} LUFS",
        )
    return view
