"""Making the listening page of one or several runs: `results/NAME/listen.html`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from ...errors import DataError, UsageError
from ...events import Reporter
from ...jobs.record import Place
from ...judge.pitch import PitchMeter
from ...judge.record import read_record, read_run
from ...judge.results import AuditionResult, CandidateKind
from ...judge.votes import column_id
from ...messages import Message
from ...pipeline.choice import recommended
from ...pipeline.history import run_history
from ...terminal import shell_quoted
from ..curves import thinned
from ..html import check_output
from ..languages import said
from ..sound.clips import Clip, make_clips
from ..sound.page import MADE_BY, write_page
from .view import Auditioned, Course, Page, page_of, recordings

SCRIPTS = ("table.js", "course.js", "blind.js", "main.js")


def write_listening_page(runs: Sequence[Path], output: Path, reporter: Reporter) -> Page:
    """Write the page of what the candidates of these runs said, and return what it shows.

    Args:
        runs: folders of runs (`results/NAME`), or of single auditions.

    Raises:
        DataError: a run has no audition, or none of its recordings can be read.
        UsageError: something that is not such a page would be replaced.
        StorageError: the page cannot be written.
        StopRequested: asked to stop; nothing was written.
    """
    check_output(output, MADE_BY)
    auditioned = [_auditioned(run) for run in runs]
    title = ", ".join(dict.fromkeys(each.course.run for each in auditioned))
    page = page_of(auditioned, _clips(recordings(auditioned), reporter), title)
    write_page(output, files(__package__ or ""), SCRIPTS, page.model_dump(mode="json"), title)
    return page


def _auditioned(run: Path) -> Auditioned:
    single = read_record(run)
    table = single or read_run(run)
    if table is None or not any(candidate.cells for candidate in table.candidates):
        raise DataError(
            "{run} has no audition to listen to.",
            Message("Make one: fishtune audition {run}", run=shell_quoted(run)),
            run=run,
        )
    course = Course(run=run.name) if single is not None else _course(run, table)
    return Auditioned(course, table)


def _course(run: Path, table: AuditionResult) -> Course:
    """Return the training of a run, and which of its columns is recommended."""
    place = Place.at(run)
    history = run_history(place)
    course = Course(
        run=run.name,
        training=thinned([(step, event.loss) for step, event in sorted(history.steps.items())]),
        held_out=[(step, event.loss) for step, event in sorted(history.validations.items())],
        resumed=[mark.step for mark in history.marks],
    )
    best = recommended(place)
    for column in table.candidates if best is not None else ():
        is_plain = column.kind is CandidateKind.CHECKPOINT and column.strength == 1
        if best is not None and is_plain and column.step == best.candidate.step:
            course.recommended, course.reason = column_id(run.name, column.name), said(best.reason)
    return course


def _clips(paths: Sequence[Path], reporter: Reporter) -> list[tuple[Path, Clip]]:
    advice = Message("Make the audition again if they should be heard.")
    clips = make_clips(paths, reporter, _pitch_meter(), advice)
    if not clips:
        raise DataError("None of the audition's recordings can be read.", "Make it again: fishtune audition")
    return clips


def _pitch_meter() -> PitchMeter | None:
    try:
        return PitchMeter.load()
    except UsageError:  # without the extra no pitch is drawn
        return None
