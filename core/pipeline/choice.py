"""Which checkpoint of a run to merge: what training and auditions said of each, and the one to take.

Apart from the history, since whoever only watches a run needs nothing of the judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config.run_files import checkpoint_step, list_checkpoints
from ..jobs.record import Place
from ..judge.record import read_audition, read_run
from ..judge.results import AuditionCandidate, AuditionResult, CandidateKind
from ..judge.selection import Candidate, Recommendation, Yardsticks, recommend
from ..judge.votes import Preference, column_id, preferences, votes_of
from .history import RunHistory, run_history


@dataclass(frozen=True)
class Choice:
    """What there is to choose from, what it is held against, and what is recommended."""

    candidates: list[Candidate]
    """The checkpoints on disk with what training and audition said about them, oldest step first."""
    against: Yardsticks
    recommendation: Recommendation | None
    """None where there is no checkpoint."""


def choose(place: Place) -> Choice:
    """Return the choice among the checkpoints of a run."""
    return choose_by(place, run_history(place, with_steps=False), read_run(place.folder))


def choose_by(place: Place, history: RunHistory, table: AuditionResult | None) -> Choice:
    """Return what `choose` does, from what was read."""
    columns = table.candidates if table else []
    heard = {
        each.step: each for each in columns if each.kind is CandidateKind.CHECKPOINT and each.strength == 1
    }
    voted = preferences(votes_of(place.folder))
    candidates = [
        _candidate(
            path,
            history,
            column := heard.get(checkpoint_step(path)),
            voted.get(column_id(place.project, column.name)) if column else None,
        )
        for path in list_checkpoints(place.folder)
    ]
    base = table.candidate(CandidateKind.BASE) if table else None
    own = table.candidate(CandidateKind.RECORDING) if table else None
    against = Yardsticks(
        base_loss=history.base_loss,
        base=base.measures if base else None,
        recordings=own.measures if own else None,
    )
    return Choice(candidates, against, recommend(candidates, against))


def recommended(place: Place) -> Recommendation | None:
    """Return which checkpoint of a run to merge, with the reason, or None if there is none."""
    return choose(place).recommendation


def _candidate(
    path: Path, history: RunHistory, column: AuditionCandidate | None, preference: Preference | None
) -> Candidate:
    step = checkpoint_step(path)
    saved, validation = history.saved.get(step), history.validations.get(step)
    try:
        status = path.stat()
        size, modified = status.st_size, status.st_mtime
    except OSError:
        size, modified = 0, 0.0
    passes = saved or validation
    audition = read_audition(path)
    return Candidate(
        step=step,
        path=path,
        bytes=saved.bytes if saved and saved.bytes else size,
        modified=modified,
        clip_passes=passes.clip_passes if passes else None,
        # Not what the event of the saving says: that of the version before may be of an earlier step.
        validation_loss=validation.loss if validation else None,
        top_5_accuracy=validation.top_5_accuracy if validation else None,
        healthy=audition.healthy if audition else None,
        measures=column.measures if column else None,
        preference=preference,
    )
