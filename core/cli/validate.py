"""`fishtune validate`."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from ..config.project import DatasetOptions, Project
from ..config.settings import ValidateSettings
from ..dataset.findings import Finding, Severity, by_kind
from ..dataset.layout import list_root
from ..dataset.usage import Usage
from ..units import format_count, format_duration
from .console import out
from .options import Given, Json, takes
from .running import project_settings, run_stage

_ELSEWHERE = {"data": DatasetOptions().path}
_SHOWN_OF_A_KIND = 3


@takes(ValidateSettings, of_project=["data", "text_extension"], elsewhere=_ELSEWHERE)
def validate(given: Given, json: Json = False) -> None:
    """Check a data set: layout, transcripts, recordings. Writes nothing; exits with 1 if there are errors.

    Expected: recordings as DATA/SPEAKER/NAME.mp3 (or .wav, .flac), their words in DATA/SPEAKER/NAME.lab.
    Folders inside a speaker's are read too, one level: DATA/SPEAKER/BOOK/NAME.mp3.
    Errors keep a clip from being used; warnings are worth a look. With --listen the clips are heard, too: do
    they say their transcripts, in one voice, without noise and echo? What was heard is kept for next time.

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
    for findings in by_kind(report["findings"], itemgetter("severity", "code")):
        _print_kind(findings)
    if report["listened"]:
        rates = [clip["wer"] for clip in report["listened"] if clip["wer"] is not None]
        if rates:
            heard, mean = format_count(len(rates), "clip"), sum(rates) / len(rates)
            out.print(f"Listened to {heard}: mean word error rate {mean:.1%}")
    for sentence in report["not_judged"]:
        out.print(sentence)
    warnings = len(report["findings"]) - errors
    out.print(Usage.model_validate(report["usage"]).said)
    out.print(
        f"{format_count(report['clips'], 'clip')}, {format_duration(report['seconds'])}: "
        f"{format_count(errors, 'error')}, {format_count(warnings, 'warning')}"
    )


def _print_kind(findings: list[dict[str, Any]]) -> None:
    """Write the findings of one kind: how many, the first of them, and what to do, once where that is one."""
    shown = [Finding.model_validate(finding) for finding in findings[:_SHOWN_OF_A_KIND]]
    first, count = shown[0], len(findings)
    line = Text(
        f"{first.severity}: ", style="bold red" if first.severity is Severity.ERROR else "bold yellow"
    )
    what = str(first.path) if count == 1 else f"{first.code}, {count:,} times"
    out.print(line.append(what, style="not bold default"))
    advice = [finding.what_to_do for finding in shown]
    for finding, following in zip(shown, [*advice[1:], None], strict=True):
        where = f"{finding.path}: " if count > 1 else ""
        out.print(Text(f"  {where}{finding.what}"))
        if finding.what_to_do != following:
            out.print(Text(f"  → {finding.what_to_do}"))
    if count > len(shown):
        out.print(f"  … and {count - len(shown):,} more (all: --json)")


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
