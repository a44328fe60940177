"""What there is to choose from before merging: base, checkpoints and the user's own recordings, as rows.

What was measured of them are the columns of `measured.py`. No Textual here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from ..core.config.project import Project
from ..core.config.run_files import list_checkpoints
from ..core.dataset.clips import AUDIO_EXTENSIONS
from ..core.errors import FishtuneError
from ..core.jobs.record import Place
from ..core.judge.record import AUDITIONS, RECORD_FILE, read_audition, read_run
from ..core.judge.results import AuditionResult, CandidateKind, Measures
from ..core.judge.selection import Candidate, Recommendation
from ..core.judge.votes import VOTES_FILE
from ..core.messages import NOTHING, Message
from ..core.pipeline.choice import Choice, choose_by
from ..core.pipeline.history import run_history, training_jobs
from .catalogue import _, sentence
from .wording import count

BASE, RECORDINGS, ANOTHER = "base", "recording", "another"
"""Keys of the rows that are no checkpoint of the run."""


class RowKind(Enum):
    """What a row is."""

    RECORDINGS = auto()
    BASE = auto()
    CHECKPOINT = auto()
    ELSEWHERE = auto()
    """A checkpoint that is none of this run's, and was chosen."""
    ANOTHER = auto()
    """Asks for one."""


@dataclass(frozen=True)
class Row:
    """One voice.

    Args:
        key: tells it from all others.
        strength: at which it was listened to.
        known: what training said of it.
        measures: what the audition measured.
        heard: what is wrong with what it said, in a few words; "" where nobody listened.
    """

    key: str
    kind: RowKind
    path: Path | None = None
    strength: float = 1.0
    known: Candidate | None = None
    loss: float | None = None
    measures: Measures = field(default_factory=Measures)
    heard: str = ""

    @property
    def can_be_merged(self) -> bool:
        """Whether it is a checkpoint."""
        return self.kind in (RowKind.CHECKPOINT, RowKind.ELSEWHERE)

    @property
    def name(self) -> str:
        """What the table calls it."""
        match self.kind:
            case RowKind.BASE:
                return _("base")
            case RowKind.RECORDINGS:
                return _("recordings")
            case RowKind.ANOTHER:
                return _("another…")
            case _ if self.known is not None:
                name = _("step {step}").format(step=count(self.known.step))
                return name if self.strength == 1 else f"{name} × {self.strength:g}"
        return self.path.name if self.path else "–"


@dataclass(frozen=True)
class Choosing:
    """All rows, and what is recommended.

    Args:
        is_heard: whether there is an audition.
        reference: the utterance or recording whose voice was given in it, or empty.
        not_judged: what was left out of it and why, each a sentence.
    """

    rows: tuple[Row, ...] = ()
    recommendation: Recommendation | None = None
    is_heard: bool = False
    reference: str = ""
    not_judged: tuple[Message, ...] = ()

    @property
    def recommended(self) -> str:
        """Key of the recommended row, "" without one."""
        return str(self.recommendation.candidate.path) if self.recommendation else ""

    def why_out(self, row: Row) -> str:
        """Return why a checkpoint is not to be recommended, "" where nothing speaks against it."""
        if self.recommendation is None or row.known is None or row.strength != 1:
            return NOTHING
        about = (each for each in self.recommendation.out if each.values.get("step") == row.known.step)
        return next(about, NOTHING)


def explain_row(row: Row, choosing: Choosing) -> str:
    """Return what a row is, and how it stands."""
    match row.kind:
        case RowKind.BASE:
            return _("The base as it was before training: the floor.")
        case RowKind.RECORDINGS:
            about = _("Your held-out recordings as the codec gives them back: the ceiling.")
            unheard = _("Audition plays and judges them, too.")
            return about if row.heard else f"{about} {unheard}"
        case RowKind.ANOTHER:
            return _("Enter asks for a checkpoint of another run, an adapter folder, or a checkpoint of "
                     "fish-speech's own training.")  # fmt: skip
        case RowKind.ELSEWHERE:
            return _("Not a checkpoint of this run: {path}").format(path=row.path)
    if not row.heard:
        return _("Not auditioned yet. Press Audition to have it judged.")
    heard = _("Listened to: {what}.").format(what=row.heard)
    out = choosing.why_out(row)
    return f"{heard} {sentence(out)}" if out else heard


def why_not(row: Row) -> str:
    """Return why a row cannot be merged."""
    if row.kind is RowKind.RECORDINGS:
        return _("Your recordings are no checkpoint: they only show what can be reached.")
    return _("The base is what checkpoints are merged into: choose one of them.")


def chosen_row(project: Project, choosing: Choosing) -> str:
    """Return the key of the row that the project file means: its checkpoint, else the recommended one."""
    named = project.merge.checkpoint
    best = choosing.recommendation
    path = project.resolve(Path(named)) if named else best.candidate.path if best else None
    found = row_at(choosing, path, project.merge.strength)
    return found.key if found else ""


def row_at(choosing: Choosing, path: Path | None, strength: float) -> Row | None:
    """Return the row of a checkpoint at a strength; where it was not listened to at that, its first one."""
    own = [row for row in choosing.rows if row.path == path and row.can_be_merged]
    return next((row for row in own if row.strength == strength), next(iter(own), None))


def strength_of(row: Row, choosing: Choosing, wanted: float) -> float:
    """Return the strength at which a row is merged.

    Args:
        wanted: what the project file says; a strength that has a row of its own is chosen by that row alone.
    """
    has_own = row_at(choosing, row.path, wanted)
    is_anothers = has_own is not None and has_own.strength == wanted and has_own.key != row.key
    return row.strength if row.strength != 1 or is_anothers else wanted


def stamp_of(project: Project) -> tuple[object, ...]:
    """Return what changes whenever the rows may: reading them takes a while, this does not."""
    place = _place(project)
    files = [*list_checkpoints(place.folder), place.folder / VOTES_FILE]
    files += sorted((place.folder / AUDITIONS).glob(f"*/{RECORD_FILE}"))
    files += [job.events_path for job in training_jobs(place)]
    return (project.merge.checkpoint, tuple((file, _changed(file)) for file in files))


def _changed(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def look(project: Project) -> Choosing:
    """Return what there is to choose from; nothing where it cannot be read."""
    place = _place(project)
    try:
        table = read_run(place.folder)
        choice = choose_by(place, run_history(place, with_steps=False), table)
    except FishtuneError:
        return Choosing()
    rows = tuple(_rows(project, choice, table))
    if table is None:
        return Choosing(rows, choice.recommendation)
    not_judged = tuple(dict.fromkeys(table.not_judged))
    return Choosing(rows, choice.recommendation, True, table.reference, not_judged)


def _place(project: Project) -> Place:
    return Place(results=project.results, project=project.name)


def _rows(project: Project, choice: Choice, table: AuditionResult | None) -> list[Row]:
    heard = table.candidates if table else []
    own = next((each for each in heard if each.kind is CandidateKind.RECORDING), None)
    base = next((each for each in heard if each.kind is CandidateKind.BASE), None)
    rows = []
    if choice.candidates:
        rows.append(
            Row(
                RECORDINGS,
                RowKind.RECORDINGS,
                measures=own.measures if own else Measures(),
                heard=sentence(own.summary) if own else "",
            )
        )
        rows.append(
            Row(
                BASE,
                RowKind.BASE,
                project.base,
                loss=choice.against.base_loss,
                measures=base.measures if base else Measures(),
                heard=sentence(base.summary) if base else "",
            )
        )
    for known in choice.candidates:
        rows.append(_checkpoint(known))
        rows += [
            Row(
                f"{known.path}@{each.strength:g}",
                RowKind.CHECKPOINT,
                known.path,
                each.strength,
                known,
                measures=each.measures,
                heard=sentence(each.summary),
            )
            for each in heard
            if each.kind is CandidateKind.CHECKPOINT and each.step == known.step and each.strength != 1
        ]
    chosen = project.merge.checkpoint and project.resolve(Path(project.merge.checkpoint))
    if chosen and all(row.path != chosen for row in rows):
        rows.append(Row(str(chosen), RowKind.ELSEWHERE, chosen))
    return [*rows, Row(ANOTHER, RowKind.ANOTHER)]


def _checkpoint(known: Candidate) -> Row:
    found = read_audition(known.path)
    return Row(
        str(known.path),
        RowKind.CHECKPOINT,
        known.path,
        1.0,
        known,
        known.validation_loss,
        known.measures or Measures(),
        sentence(found.summary) if found else "",
    )


def reference_of(project: Project, choosing: Choosing) -> Path | None:
    """Return the recording whose voice was given in the audition, None where it is not known or gone."""
    if project.audition.reference is not None:
        return project.resolve(project.audition.reference)
    places = (project.data / f"{choosing.reference}{ending}" for ending in AUDIO_EXTENSIONS)
    return next((place for place in places if choosing.reference and place.is_file()), None)
