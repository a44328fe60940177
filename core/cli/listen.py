"""`fishtune listen`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.settings import ListenSettings
from ..config.strict import parse_flags
from ..errors import UsageError
from ..files import absolute
from ..jobs.record import Place
from ..jobs.writer import JobReporter
from ..judge.votes import VOTES_FILE, keep_votes, read_votes, runs_of
from ..messages import NOTHING, plural
from ..pipeline.runs import has_run
from ..report.serving import PageServer, copy_command, tunnel_command
from ..terminal import shell_quoted
from ..units import format_bytes, format_count
from .console import err, out, print_json
from .display import display_events
from .options import Given, Json, takes
from .running import find_project
from .runs import find_run, run_folder

if TYPE_CHECKING:
    from ..report.listening.view import Page


@takes(ListenSettings)
def listen(given: Given, json: Json = False) -> None:
    """Make a page to listen to, one HTML file: what an audition recorded, or the clips of a data set.

    Of runs it shows base, checkpoints and your own recordings side by side, and has a blind test whose votes
    count in the recommendation. Of a data set it shows all clips, the least sure ones first, to be corrected;
    fishtune prepare DATA --edits FILE takes in what it saves. The page needs no network. On a machine without
    a browser, copy the file with the line that is printed, or serve it.

    Example: fishtune listen my-voice --serve
    """
    settings = parse_flags(ListenSettings, **given)
    data = _data_set(settings)
    output = _listen_to_runs(settings, json) if data is None else _proofread(data, settings, json)
    if settings.serve:
        _serve(output, settings.port)
    elif not json:
        named = " ".join(["fishtune listen", *map(shell_quoted, settings.runs), "--serve"])
        out.print(f"  on your computer:  {copy_command(output)}")
        out.print(f"  or serve it here:  {named}")


def _data_set(settings: ListenSettings) -> Path | None:
    """Return the data set that is to be listened to, None where it is runs."""
    data = [folder for folder in map(absolute, settings.runs) if folder.is_dir() and _is_data_set(folder)]
    if data and len(settings.runs) > 1:
        raise UsageError(
            "{folder} is a data set: its page shows nothing else.", "Give it alone.", folder=data[0]
        )
    if data and settings.votes:
        raise UsageError(
            "{folder} is a data set: votes are about runs.", "Leave --votes out.", folder=data[0]
        )
    if settings.least_sure is not None and not data:
        raise UsageError(
            "--least-sure is for the clips of a data set.", "Name its folder: fishtune listen data"
        )
    return data[0] if data else None


def _is_data_set(folder: Path) -> bool:
    """Return whether a folder was prepared, or has clips with transcripts and nothing that runs have."""
    from ..dataset.layout import scan
    from ..dataset.prepared import RECORD_FILE

    if (folder / RECORD_FILE).is_file():
        return True
    return not _is_run(_place_of(folder)) and any(clip.audio and clip.text for clip in scan(folder).clips)


def _place_of(folder: Path) -> Place:
    """Return the place of the run that a folder is, or that a project's folder holds."""
    return Place.at(absolute(run_folder(folder)))


def _is_run(place: Place) -> bool:
    """Return whether a place has what training or an audition leaves there."""
    from ..config.run_files import CHECKPOINTS
    from ..judge.record import AUDITIONS, read_record

    folder = place.folder
    parts = (folder / CHECKPOINTS, folder / AUDITIONS)
    return any(part.is_dir() for part in parts) or has_run(place) or read_record(folder) is not None


def _proofread(data: Path, settings: ListenSettings, json: bool) -> Path:
    """Write the page of a data set and return where it is."""
    from ..report.proofreading.page import PROOFREAD_FILE, write_proofreading_page

    output = settings.output or data / PROOFREAD_FILE
    with display_events(quiet=json) as show:
        page = write_proofreading_page(data, output, settings.least_sure, JobReporter(None, [show]))
    if json:
        print_json({"page": str(output), "clips": page.shown, "clips_of_data": len(page.rows)})
    else:
        out.print(
            f"Wrote {output}: {format_count(page.shown, 'clip')}, {format_bytes(output.stat().st_size)}"
        )
        out.print(f"  edits that it saves:  fishtune prepare {shell_quoted(data)} --edits FILE")
    return output


def _listen_to_runs(settings: ListenSettings, json: bool) -> Path:
    """Write the page of runs and return where it is."""
    from ..report.listening.page import write_listening_page

    runs = [_folder_of(run) for run in settings.runs] or [_project_run()]
    added = [(run, _keep(run, settings.votes)) for run in runs if settings.votes]
    output = settings.output or _default_output(runs)
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
    return output


def _tell(page: Page, output: Path, added: list[tuple[Path, int]]) -> None:
    for run, number in added:
        file = run / VOTES_FILE
        told = plural(
            number, "{number} new vote is kept in {file}", "{number} new votes are kept in {file}", file=file
        )
        out.print(told)
    size = format_bytes(output.stat().st_size)
    texts, columns = format_count(len(page.rows), "text"), format_count(len(page.columns), "column")
    out.print(f"Wrote {output}: {texts}, {columns}, {size}")
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
    if run.is_dir() and not _is_run(_place_of(run)):
        raise UsageError(
            "{folder} is neither a run nor a data set.",
            "A run has checkpoints or an audition; a data set has clips with transcripts: "
            "{folder}/SPEAKER/NAME.wav and NAME.lab.",
            folder=run,
        )
    try:
        return find_run(run, _is_run).folder
    except UsageError as error:
        if run.exists():
            raise
        raise UsageError(
            "There is no run and no folder {name} here.", error.hint or NOTHING, name=run
        ) from error


def _project_run() -> Path:
    project = find_project()
    if project is None:
        raise UsageError(
            "There is no project here, and no run was named.", "Name one: fishtune listen results/NAME"
        )
    return project.run_folder


def _default_output(runs: list[Path]) -> Path:
    from ..judge.record import LISTEN_FILE

    return (runs[0] if len(runs) == 1 else runs[0].parent) / LISTEN_FILE
