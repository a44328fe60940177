"""Making the listening page of one or several runs: `results/NAME/listen.html`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from ...errors import DataError, FishtuneError, UsageError
from ...events import ProgressMeter, Reporter
from ...files import write_text
from ...jobs.record import Place
from ...judge.pitch import PitchMeter
from ...judge.record import read_record, read_run
from ...judge.results import AuditionResult, CandidateKind
from ...judge.votes import column_id
from ...messages import Message, plural
from ...pipeline.history import recommended, run_history
from ...terminal import shell_quoted
from ..curves import thinned
from ..html import check_output, self_contained
from ..languages import page_texts, said
from .clips import Clip, common_loudness, make_clip, measure_level
from .view import Auditioned, Course, Page, page_of, recordings

_MADE_BY = "fishtune listen"
LISTEN_FILE = "listen.html"
SCRIPTS = ("words.js", "drawing.js", "player.js", "table.js", "course.js", "blind.js", "main.js")


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
    check_output(output, _MADE_BY)
    auditioned = [_auditioned(run) for run in runs]
    title = ", ".join(dict.fromkeys(each.course.run for each in auditioned))
    page = page_of(auditioned, _clips(recordings(auditioned), reporter), title)
    folder = files(__package__ or "")
    page.texts = page_texts(folder)
    write_text(output, self_contained(folder, SCRIPTS, page.model_dump(mode="json"), title=title))
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
    place = Place(results=run.parent, project=run.name)
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
    """Return the recordings that can be read, equally loud; others are named in a warning."""
    levels = {}
    unread: list[FishtuneError] = []
    for path in paths:
        reporter.check_stop()
        try:
            levels[path] = measure_level(path)
        except DataError as error:
            unread.append(error)
    if not levels:
        raise DataError("None of the audition's recordings can be read.", "Make it again: fishtune audition")
    if unread:
        reporter.warn(
            plural(
                len(unread),
                "{number} recording is left out: {reason}",
                "{number} recordings are left out, the first: {reason}",
                reason=unread[0].message,
            ),
            "Make the audition again if they should be heard.",
        )
    target = common_loudness(list(levels.values()))
    meter = _pitch_meter()
    progress = ProgressMeter(reporter, Message("making the page"), len(levels), "recordings")
    clips = []
    for path, level in levels.items():
        reporter.check_stop()
        clips.append((path, make_clip(path, level, target, meter)))
        progress.advance()
    return clips


def _pitch_meter() -> PitchMeter | None:
    try:
        return PitchMeter.load()
    except UsageError:  # without the extra no pitch is drawn
        return None
