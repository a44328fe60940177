"""`fishtune report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..jobs.writer import JobReporter
from ..units import format_bytes
from .console import out, print_json
from .display import display_events
from .options import Json
from .runs import Run, find_run


def report(
    run: Run = None,
    output: Annotated[
        Path | None, typer.Option(help="The page that is written; else report.html in the run's folder.")
    ] = None,
    language: Annotated[Literal["en", "ko"], typer.Option(help="Language of the page.")] = "en",
    json: Json = False,
) -> None:
    """Write a run's summary as one HTML file to pass on: settings, data, losses, audition, recordings.

    Example: fishtune report my-voice
    """
    place = find_run(run)
    with display_events(quiet=json) as show:
        reporter = JobReporter(None, [show])
        reporter.phase("reading the run")
        from ..report.run.page import REPORT_FILE, write_report  # loads torch

        page = output or place.folder / REPORT_FILE
        write_report(place, page, reporter, language)
    if json:
        print_json({"page": str(page)})
    else:
        out.print(f"Wrote {page}, {format_bytes(page.stat().st_size)}")
