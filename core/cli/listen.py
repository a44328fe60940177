"""`fishtune listen`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.project import RESULTS
from ..config.settings import ListenSettings
from ..config.strict import parse_flags
from ..errors import UsageError
from ..files import absolute
from ..jobs.writer import JobReporter
from ..judge.votes import VOTES_FILE, keep_votes, read_votes, runs_of
from ..messages import Message
from ..report.serving import PageServer, copy_command, tunnel_command
from ..terminal import shell_quoted
from ..units import format_bytes
from .console import err, out, print_json
from .display import display_events
from .options import Given, Json, takes
from .running import find_project
from .runs import run_folder

if TYPE_CHECKING:
    from ..report.listening.view import Page


@takes(ListenSettings)
def listen(given: Given, json: Json = False) -> None:
    """Make a page to listen to: base, checkpoints and your own recordings side by side, in one HTML file.

    It shows what fishtune audition has recorded, needs no network, and has a blind test whose votes count in
    the recommendation. On a machine without a browser, copy the file with the line that is printed, or serve
    it.

    Example: fishtune listen my-voice --serve
    """
    settings = parse_flags(ListenSettings, **given)
    runs = [_folder_of(run) for run in settings.runs] or [_project_run()]
    added = [(run, _keep(run, settings.votes)) for run in runs if settings.votes]
    output = settings.output or _default_output(runs)
    from ..report.listening.page import write_listening_page

    with display_events(quiet=json) as show:
        page = write_listening_page(runs, output, JobReporter(None, [show]))
    if json:
        print_json(
            {
                "page": str(output),
                "texts": len(page.rows),
                "columns": [column.id for column in page.columns],
                "recommended": {course.run: course.recommended or None for course in page.runs},
                "new_votes": {run.name: number for run, number in added},
            }
        )
    else:
        _tell(page, output, added)
    if settings.serve:
        _serve(output, settings.port)
    elif not json:
        named = " ".join(["fishtune listen", *map(shell_quoted, settings.runs), "--serve"])
        out.print(f"  on your computer:  {copy_command(output)}")
        out.print(f"  or serve it here:  {named}")


def _tell(page: Page, output: Path, added: list[tuple[Path, int]]) -> None:
    for run, number in added:
        out.print(f"{number} new votes are kept in {run / VOTES_FILE}")
    size = format_bytes(output.stat().st_size)
    out.print(f"Wrote {output}: {len(page.rows)} texts, {len(page.columns)} columns, {size}")
    for course in page.runs:
        if course.recommended:
            out.print(f"Recommended: {course.recommended}. {course.reason['en']}")


def _serve(page: Path, port: int) -> None:
    with PageServer(page, port) as server:
        err.print(f"Serving it until Ctrl+C: {server.address}")
        err.print(f"  from another computer, first there:  {tunnel_command(server.server_port)}")
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl+C is how serving ends
            server.serve_forever()


def _keep(run: Path, files: list[Path]) -> int:
    """Keep the votes of files that are about a run; return how many were new."""
    votes = [vote for file in files for vote in read_votes(file)]
    return keep_votes(run, [vote for vote in votes if run.name in runs_of(vote)])


def _folder_of(run: Path) -> Path:
    """Return the folder of a run that was given as such, or by its name."""
    if run.is_dir():
        return absolute(run_folder(run))
    project = find_project()
    results = project.results if project else Path.cwd() / RESULTS
    if len(run.parts) == 1 and (results / run).is_dir():
        return results / run
    raise UsageError(
        "{run} is neither the folder of a run nor its name.",
        Message("The runs of this project lie in {results}.", results=results),
        run=run,
    )


def _project_run() -> Path:
    project = find_project()
    if project is None:
        raise UsageError(
            "There is no project here, and no run was named.", "Name one: fishtune listen results/NAME"
        )
    return project.run_folder


def _default_output(runs: list[Path]) -> Path:
    from ..report.listening.page import LISTEN_FILE

    return (runs[0] if len(runs) == 1 else runs[0].parent) / LISTEN_FILE
