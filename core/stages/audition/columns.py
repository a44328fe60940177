"""A candidate's recordings and record on the disk: kept where nothing changed, completed where some lack.

The record is written anew after every few recordings, so an audition that was stopped or killed continues
where it was. Nothing that an audition did not write is ever replaced or removed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...audio.mixing import Waveform
from ...audio.recordings import write_audio
from ...errors import UsageError
from ...file_names import TEXT_EXTENSION
from ...files import recover_folder, remove, sweep_temporary, write_text
from ...judge.measures import measures_of
from ...judge.record import RECORD_FILE, read_record, write_record
from ...judge.results import AuditionCandidate, AuditionResult, CandidateKind, Cell
from ...messages import Message
from ...ownership import describe, strangers
from .candidates import Planned
from .question import Question

_SAVE_SECONDS = 5.0
"""Work that a killed audition loses at most, beside the text it was at."""
_OWN_NAME = re.compile(rf"\d+(-\d+)?(\.wav|{re.escape(TEXT_EXTENSION)})")


class Column:
    """One candidate's part of the table, in memory and in its folder.

    Attributes:
        table: the table of this column alone, as its record has it.
    """

    def __init__(self, planned: Planned, question: Question, *, overwrite: bool) -> None:
        self.planned = planned
        self.question = question
        self.table = AuditionResult(
            digest=question.digest,
            texts=list(question.texts),
            seeds=list(question.seeds),
            reference=question.reference_name,
            language=question.language,
            candidates=[
                AuditionCandidate(
                    kind=planned.kind,
                    path=planned.path,
                    modified=planned.modified,
                    step=planned.step,
                    strength=planned.strength,
                    folder=planned.folder,
                    cells=[],
                    complete=False,
                )
            ],
        )
        self._overwrite = overwrite
        self._saved = 0.0
        self._take_over()

    @property
    def folder(self) -> Path:
        """Where its recordings lie."""
        return self.planned.folder

    @property
    def candidate(self) -> AuditionCandidate:
        """What is known of it so far."""
        return self.table.candidates[0]

    @property
    def missing(self) -> list[tuple[int, int | None]]:
        """Rows and seeds that it has not said yet."""
        there = {(cell.text, cell.seed) for cell in self.candidate.cells}
        return [pair for pair in self._wanted() if pair not in there]

    def _wanted(self) -> list[tuple[int, int | None]]:
        if self.planned.kind is CandidateKind.RECORDING:
            return [(row, None) for row in self.question.recordings]
        return [(row, seed) for row in range(self.question.said) for seed in self.question.seeds]

    def audio_name(self, row: int, seed: int | None) -> str:
        """Return what the recording of a row is called: `3.wav`, and `3-2.wav` with the second seed."""
        again = self.question.seeds.index(seed) if seed is not None else 0
        return f"{row + 1}-{again + 1}.wav" if again else f"{row + 1}.wav"

    def _take_over(self) -> None:
        """Keep what an earlier audition said to the same question; what else it left goes later (`begin`)."""
        recover_folder(self.folder)
        record = check_folder(self.folder, overwrite=self._overwrite)
        if record is None:
            return
        (before,) = record.candidates
        same = record.digest == self.table.digest and before.modified == self.planned.modified
        changed = set(strangers(self.folder, before.files))
        wanted = set(self._wanted())
        kept = [
            cell
            for cell in before.cells
            if same
            and (cell.text, cell.seed) in wanted
            and (not cell.audio or ((self.folder / cell.audio).is_file() and cell.audio not in changed))
        ]
        self.candidate.cells = kept
        if same and before.complete and len(kept) == len(wanted):
            self.table = record.model_copy(update={"texts": self.table.texts})
            return
        self.candidate.files = before.files if kept else {}

    def begin(self) -> None:
        """Replace what an earlier audition left, and write the record that says whose the recordings are."""
        self._sweep()
        self.save()

    def _sweep(self) -> None:
        """Remove recordings that are no part of this audition.

        Raises:
            UsageError: something in the folder did not come from an audition.
        """
        check_folder(self.folder, overwrite=self._overwrite)  # minutes may have passed
        names = {name for cell in self.candidate.cells for name in _files_of(cell)}
        for file in list(self.folder.iterdir()) if self.folder.is_dir() else ():
            if _OWN_NAME.fullmatch(file.name) and file.name not in names:
                remove(file)

    def save_now_and_then(self) -> None:
        """Save if the last time was some seconds ago."""
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self.save()

    def add(self, cell: Cell, samples: Waveform, sample_rate: int) -> None:
        """Take what was said, and write its recording with its text beside it."""
        if cell.audio:
            write_audio(self.folder / cell.audio, samples, sample_rate)
            text = self.question.texts[cell.text].text
            write_text((self.folder / cell.audio).with_suffix(TEXT_EXTENSION), text + "\n")
        self.candidate.cells.append(cell)
        self.candidate.cells.sort(key=lambda each: (each.text, each.seed or 0))

    def finish(self, cells: Sequence[Cell], listened: str, about: dict[str, Any]) -> None:
        """Take what was heard of every cell, and complete the record.

        Args:
            listened: digest of what listened.
            about: what else the table says of that.
        """
        self._sweep()
        self.table = self.table.model_copy(update={**about, "listened": listened})
        candidate = self.candidate
        candidate.cells, candidate.complete, candidate.measures = list(cells), True, measures_of(cells)
        self.save()

    def save(self) -> None:
        """Write the record of what there is so far."""
        candidate = self.candidate
        known = {name: entry["sha256"] for name, entry in candidate.files.items()}
        own = {name for cell in candidate.cells for name in _files_of(cell)}
        self.folder.mkdir(parents=True, exist_ok=True)
        candidate.files = {name: entry for name, entry in describe(self.folder, known).items() if name in own}
        write_record(self.table, self.folder)
        self._saved = time.monotonic()


def _files_of(cell: Cell) -> tuple[str, ...]:
    return (cell.audio, str(Path(cell.audio).with_suffix(TEXT_EXTENSION))) if cell.audio else ()


def check_folder(folder: Path, *, overwrite: bool) -> AuditionResult | None:
    """Return the record in a folder; refuse a folder that holds what would be lost with it.

    Raises:
        UsageError: names it.
    """
    if not os.path.lexists(folder):
        return None
    if folder.is_dir():
        sweep_temporary(folder)
        if not any(folder.iterdir()):
            return None
    record = read_record(folder) if folder.is_dir() else None
    if record is None:
        raise UsageError(
            "{folder} exists and holds no audition.",
            "Move it away: the audition's recordings go there.",
            folder=folder,
        )
    (before,) = record.candidates
    own = {RECORD_FILE, *(name for cell in before.cells for name in _files_of(cell))}
    found = [name for name in strangers(folder, before.files) if name != RECORD_FILE]
    # Records of earlier versions do not describe the recordings.
    unfinished = set() if before.complete else {name for name in found if _OWN_NAME.fullmatch(name)}
    added = [name for name in found if name not in own | unfinished]
    changed = [name for name in found if name in own and before.files]
    if added or (changed and not overwrite):
        hint = Message("Move it away.") if added else Message("Move it away, or replace it with --overwrite.")
        raise UsageError(
            "{folder} did not come from the audition.", hint, folder=folder / [*added, *changed][0]
        )
    return record
