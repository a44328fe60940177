"""What an audition finds: several voices (base, checkpoints, the user's own recordings) say the same texts.

An `AuditionResult` is a table: texts are its rows, candidates its columns, and a `Cell` is what one candidate
made of one text with one seed. Beside each candidate lies a table of that column alone, its record
(`judge/record.py`), so that columns are made, kept and reused one by one. Imports no torch and no array
library: displays read these.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, computed_field, model_validator

from ..data_model import DataModel
from ..messages import Message, joined
from .faults import SpeechFault

SAME_VOICE = 0.5
"""Cosine of two embeddings from which they count as one voice. Of one speaker: .62 to .97; of two: at most
.37."""


class Pitch(DataModel):
    """Pitch of a recording, over its voiced frames."""

    median: float
    """Hz."""
    spread: float
    """Semitones between the 10th and the 90th percentile: about 3 where it is monotonous, 6 to 14 in
    speech."""


class HeardDifference(DataModel):
    """Words, or letters, that were not said as they are in the text."""

    expected: str
    heard: str
    start: float | None
    """When what was heard begins, seconds; None where nothing was."""


class Judgement(DataModel):
    """What was measured of one recording, and what is wrong with it; None where nothing could measure it."""

    heard: str = ""
    """What recognition heard."""
    seconds: float
    wer: float | None = None
    """Errors per word of the text; per letter in languages that are compared so."""
    deletions: int | None = None
    insertions: int | None = None
    substitutions: int | None = None
    differences: list[HeardDifference] = []
    """Where the words differ, in order."""
    similarity: float | None = None
    """To the voice that it should be; a cosine."""
    rate: float | None = None
    """Letters and digits heard per second of speech."""
    pitch: Pitch | None = None
    background: float | None = None
    """Opinion of the background that DNSMOS expects, 1 … 5."""
    findings: list[SpeechFault]
    """What is wrong; empty = it sounds right."""


class TextSource(StrEnum):
    """Where a text comes from."""

    OURS = "ours"
    """The texts of the language that come with fishtune."""
    GIVEN = "given"
    """Given by the user."""
    HELD_OUT = "held-out"
    """The transcript of a held-out clip, whose recording stands beside it."""


class AuditionText(DataModel):
    """A row: what is to be said."""

    text: str
    source: TextSource
    clip: str = ""
    """The held-out clip that it is the transcript of."""


class Cell(Judgement):
    """One text as one candidate said it."""

    text: int
    """Its row: a place in `AuditionResult.texts`."""
    seed: int | None
    """None = a recording of the user's, which nothing drew."""
    audio: str
    """Recording, a file in the candidate's folder; empty if nothing was generated."""
    expected_seconds: float
    """About how long the text takes to say."""
    ended: bool
    """Whether the model ended by itself."""
    rules: list[SpeechFault] = []
    """What the generated codes showed before anything listened."""


class CandidateKind(StrEnum):
    """What a column is."""

    RECORDING = "recording"
    """The user's own held-out recordings, as the codec gives them back: the ceiling."""
    BASE = "base"
    """A model directory as it lies there; beside checkpoints of it, the floor."""
    CHECKPOINT = "checkpoint"
    """A checkpoint or adapter on its base."""


class Measure(DataModel):
    """A mean over texts with its 95 % interval, by bootstrap."""

    mean: float
    low: float
    high: float
    texts: int


class Measures(DataModel):
    """What a candidate's cells come to; None where nothing was measured."""

    faulty: Measure | None = None
    """Share of the cells with findings."""
    wer: Measure | None = None
    similarity: Measure | None = None
    rate: Measure | None = None
    pitch: Measure | None = None
    """Median, Hz."""
    spread: Measure | None = None
    """Of the pitch, semitones."""


class AuditionCandidate(DataModel):
    """A column: who speaks, and what became of each text."""

    kind: CandidateKind
    path: Path | None
    """Checkpoint, adapter folder or model directory; None = recordings."""
    modified: float | None
    """Unix time of `path` when it spoke; an audition of another one does not count."""
    step: int | None = None
    """Of a checkpoint of training."""
    strength: float = 1.0
    """Factor on what the checkpoint adds to its base."""
    folder: Path = Field(default=Path(), validate_default=False)
    """Where the recordings lie; known to whoever read or wrote them, "." in the record itself."""
    cells: list[Cell]
    complete: bool = True
    """Whether it has said every text, and everything was listened to."""
    measures: Measures = Measures()
    files: dict[str, Any] = {}
    """What the recordings were when they were written; see `ownership.describe`."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def name(self) -> str:
        """What displays call it, unlike any other column of its table: `base`, `step 100`, `step 100 × 0.5`.

        Recordings are `recording`; what is not a checkpoint of training is called by its file.
        """
        match self.kind:
            case CandidateKind.CHECKPOINT if self.path is not None:
                own = self.path.name if self.step is None else f"step {self.step}"
                return own if self.strength == 1 else f"{own} × {self.strength:g}"
            case kind:
                return str(kind)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def healthy(self) -> bool:
        """Whether most of the cells are without findings."""
        return 2 * sum(bool(cell.findings) for cell in self.cells) < len(self.cells)

    @property
    def summary(self) -> Message:
        """What was found, in a few words: "sound", or what is wrong with how many."""
        kinds = [finding.kind for cell in self.cells for finding in cell.findings]
        if not kinds:
            return Message("sound")
        counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        return joined(
            (
                Message("{kind} {number}/{total}", kind=Message(kind), number=number, total=len(self.cells))
                for kind, number in counted.items()
            ),
            ", ",
        )

    def audio(self, cell: Cell) -> Path | None:
        """Return the recording of one of its cells; None where nothing was generated."""
        return self.folder / cell.audio if cell.audio else None


class AuditionResult(DataModel):
    """The table: what `fishtune audition` found, and what the listening page shows."""

    digest: str
    """Of everything that the recordings follow from beside the candidate: tables of one digest can be joined.
    Empty = not known."""
    listened: str = ""
    """Digest of what listened to them: numbers of one digest can be compared. Empty = rules alone, or not
    known."""
    texts: list[AuditionText]
    seeds: list[int]
    reference: str
    """The utterance or recording whose voice was given, or empty."""
    language: str | None = None
    """Of the texts; None = not known."""
    models: dict[str, str] = {}
    """What listened: by what it judges, the model's name."""
    not_judged: list[Message] = []
    """What was left out and why, each a sentence."""
    candidates: list[AuditionCandidate]
    """Recordings and base first, then checkpoints by step and strength."""

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        rows = range(len(self.texts))
        if any(cell.text not in rows for candidate in self.candidates for cell in candidate.cells):
            raise ValueError("a recording is of no text")
        return self

    def candidate(self, kind: CandidateKind) -> AuditionCandidate | None:
        """Return the first column of a kind."""
        return next((each for each in self.candidates if each.kind is kind), None)
