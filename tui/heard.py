"""What the judge heard of a run's checkpoints, a line for each. Reads the disk: call it in a thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.judge.record import read_run
from ..core.judge.results import AuditionCandidate, CandidateKind
from .catalogue import _, sentence
from .wording import decimal, percent


def heard_checkpoints(run_folder: Path, near: Callable[[Path], str]) -> dict[int, str]:
    """Return by step what an audition found, with the path of a sample.

    Args:
        near: how a path is shown.
    """
    table = read_run(run_folder)
    columns = table.candidates if table is not None else []
    return {
        column.step: _line(column, near)
        for column in columns
        if column.kind is CandidateKind.CHECKPOINT and column.step is not None and column.strength == 1
    }


def _line(column: AuditionCandidate, near: Callable[[Path], str]) -> str:
    parts = [_("heard: {summary}").format(summary=sentence(column.summary))]
    measures = column.measures
    if measures.wer is not None:
        parts.append(_("words wrong {share}").format(share=percent(measures.wer.mean)))
    if measures.similarity is not None:
        parts.append(_("likeness {cosine}").format(cosine=decimal(measures.similarity.mean, 2)))
    sample = next((audio for cell in column.cells if (audio := column.audio(cell)) is not None), None)
    if sample is not None:
        parts.append(near(sample))
    return " · ".join(parts)
