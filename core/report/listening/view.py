"""What the listening page shows, as its scripts read it, and how the tables of auditions become that.

Rows are texts, each with one seed; columns are candidates, over all runs that are shown. What the engine says
stands there in every language (`languages.Said`), since the page changes its language by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from ...judge.results import AuditionCandidate, AuditionResult, CandidateKind, Cell, Measure
from ...judge.votes import column_id
from ...messages import Message
from ..languages import Said, said
from ..sound.clips import Clip

PAGE_VERSION = 1
MEASURED = ("faulty", "wer", "similarity", "rate", "pitch", "spread")
"""Numbers of a column, of `results.Measures`."""


class Fault(BaseModel):
    """One thing that is wrong with a recording."""

    kind: Said
    message: Said


class ShownCell(BaseModel):
    """One recording with its numbers; None where nothing measured it."""

    clip: int | None
    """Place in `Page.clips`; None where nothing was generated or the file is gone."""
    heard: str
    wer: float | None
    deletions: int | None
    insertions: int | None
    substitutions: int | None
    similarity: float | None
    rate: float | None
    pitch: float | None
    spread: float | None
    background: float | None
    faults: list[Fault]


class Row(BaseModel):
    """A text with one seed."""

    text: str
    source: str
    clip: str
    """The held-out clip whose transcript it is, or empty."""
    take: int | None
    """Which of several seeds, counted from 1; None where there is one."""
    seed: int | None
    language: str
    """Of the text, for the browser; empty = not known."""
    cells: list[ShownCell | None]
    """By column."""


class Column(BaseModel):
    """Who speaks."""

    id: str
    """What votes call it."""
    run: str
    name: str
    kind: str
    step: int | None
    strength: float
    summary: Said
    measures: dict[str, Measure]


class Course(BaseModel):
    """The training of a run: losses by step."""

    run: str
    training: list[tuple[int, float]] = []
    held_out: list[tuple[int, float]] = []
    resumed: list[int] = []
    """Steps at which it continued after a stop."""
    recommended: str = ""
    """Id of the column that is recommended for merging."""
    reason: Said = {}


class Page(BaseModel):
    """All of the page."""

    version: int = PAGE_VERSION
    id: str
    """Of runs and texts: votes are kept under it, over all pages of the same question."""
    title: str
    runs: list[Course]
    columns: list[Column]
    rows: list[Row]
    clips: list[Clip]
    reference: str
    not_judged: list[Said]


@dataclass(frozen=True)
class Auditioned:
    """A run and what its candidates said."""

    course: Course
    table: AuditionResult


def recordings(auditioned: Iterable[Auditioned]) -> list[Path]:
    """Return the recordings of all cells, each once, in the order of the clips of the page."""
    found = (
        audio
        for each in auditioned
        for candidate in each.table.candidates
        for cell in candidate.cells
        if (audio := candidate.audio(cell)) is not None
    )
    return list(dict.fromkeys(found))


def page_of(auditioned: Sequence[Auditioned], clips: Sequence[tuple[Path, Clip]], title: str) -> Page:
    """Return the page of what one or several runs said.

    Args:
        clips: the recordings that could be read.
    """
    place = {path: number for number, (path, _) in enumerate(clips)}
    columns = [(each, candidate) for each in auditioned for candidate in each.table.candidates]
    rows = _rows(auditioned, len(columns))
    for number, (each, candidate) in enumerate(columns):
        for cell in candidate.cells:
            shown = _cell(candidate, cell, place.get)
            # A recording, which no seed drew, stands beside what every seed made of its text.
            for seed in _seeds(each.table) if cell.seed is None else [cell.seed]:
                rows[each.table.texts[cell.text].text, seed].cells[number] = shown
    first = auditioned[0].table
    asked = "\n".join(f"{each.course.run} {each.table.digest}" for each in auditioned)
    return Page(
        id=hashlib.sha256(asked.encode()).hexdigest()[:16],
        title=title,
        runs=[each.course for each in auditioned],
        columns=[_column(each.course.run, candidate) for each, candidate in columns],
        rows=list(rows.values()),
        clips=[clip for _, clip in clips],
        reference=first.reference,
        not_judged=[said(message) for message in dict.fromkeys(first.not_judged)],
    )


def _rows(auditioned: Sequence[Auditioned], columns: int) -> dict[tuple[str, int | None], Row]:
    """Return empty rows by text and seed, in the order in which they were asked."""
    rows: dict[tuple[str, int | None], Row] = {}
    for each in auditioned:
        seeds = _seeds(each.table)
        for asked in each.table.texts:
            for take, seed in enumerate(seeds, start=1):
                row = Row(
                    text=asked.text,
                    source=asked.source,
                    clip=asked.clip,
                    take=take if len(seeds) > 1 else None,
                    seed=seed,
                    language=each.table.language or "",
                    cells=[None] * columns,
                )
                rows.setdefault((asked.text, seed), row)
    return rows


def _seeds(table: AuditionResult) -> Sequence[int | None]:
    """Return the seeds of the rows; tables of the version before do not tell theirs."""
    return table.seeds or [None]


def _cell(candidate: AuditionCandidate, cell: Cell, place_of: Callable[[Path], int | None]) -> ShownCell:
    audio = candidate.audio(cell)
    faults = [Fault(kind=said(Message(fault.kind)), message=said(fault.message)) for fault in cell.findings]
    return ShownCell(
        clip=None if audio is None else place_of(audio),
        heard=cell.heard,
        wer=cell.wer,
        deletions=cell.deletions,
        insertions=cell.insertions,
        substitutions=cell.substitutions,
        similarity=cell.similarity,
        rate=cell.rate,
        pitch=cell.pitch.median if cell.pitch else None,
        spread=cell.pitch.spread if cell.pitch else None,
        background=cell.background,
        faults=faults,
    )


def _column(run: str, candidate: AuditionCandidate) -> Column:
    measures = {name: getattr(candidate.measures, name) for name in MEASURED}
    return Column(
        id=column_id(run, candidate.name),
        run=run,
        name=candidate.name,
        kind=candidate.kind,
        step=candidate.step if candidate.kind is CandidateKind.CHECKPOINT else None,
        strength=candidate.strength,
        summary=said(candidate.summary),
        measures={name: measure for name, measure in measures.items() if measure is not None},
    )
