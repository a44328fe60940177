"""Listening to what was said: every recording against its text and against the voice of the data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from ...audio.mixing import Waveform
from ...audio.recordings import read_audio
from ...config.settings import AuditionSettings
from ...events import ProgressMeter, Reporter
from ...hardware.device import usable_gpu
from ...judge.acoustics import SAMPLE_RATE
from ...judge.differences import letters_of_text
from ...judge.faults import SpeechFault, SpeechFaultKind
from ...judge.judging import judgement
from ...judge.listeners import Listeners, load_listeners
from ...judge.results import CandidateKind, Cell, Judgement
from ...judge.speaker import centre
from ...judge.verdict import Evidence, Voice, voice_of
from ...messages import Message
from .columns import Column
from .question import Question

_STOPPED = Message("What was said is kept; the same command listens to it.")
_OF_CODES = {SpeechFaultKind.ENDLESS, SpeechFaultKind.EMPTY, SpeechFaultKind.STUCK}
"""What generated codes show and recordings do not, or less well."""


def listen_to(
    columns: Sequence[Column],
    question: Question,
    reference: Callable[[], Waveform | None],
    settings: AuditionSettings,
    reporter: Reporter,
) -> None:
    """Listen to what candidates said, as far as the same ears have not done so before.

    Args:
        reference: gives samples of the voice that was given, mono at 16 kHz.

    Raises:
        FishtuneError: a model that was asked for cannot be had or used.
        StopRequested: asked to stop.
    """
    listened = _digest_of_listeners(settings, question)
    waiting = [each for each in columns if not each.candidate.complete or each.table.listened != listened]
    if not waiting:
        return
    listeners = load_listeners(settings, question.language, reporter, usable_gpu)
    own = [column for column in columns if column.planned.kind is CandidateKind.RECORDING]
    others = [column for column in waiting if column not in own]
    number = sum(len(column.candidate.cells) for column in (*own, *others))
    meter = ProgressMeter(reporter, Message("listening"), number, "recordings")
    ears = _Ears(listeners, question, reference(), reporter, meter)
    # They tell the voice, so they are heard again for whoever else is.
    recordings = [heard for column in own for heard in ears.hear(column)]
    about = {
        "models": listeners.names,
        "not_judged": list(listeners.not_judged),
    }
    # What is left out for now (no network) may be there the next time.
    listened = "" if listeners.not_judged else listened
    for column in waiting:
        said = recordings if column in own else ears.hear(column)
        cells = [ears.judged(heard, recordings) for heard in said]
        column.finish(cells, listened, about)


def _digest_of_listeners(settings: AuditionSettings, question: Question) -> str:
    chosen = settings.model_dump(mode="json", include={"asr_model", "speaker_model"})
    content = [version("fishtune"), question.language, chosen]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _Heard:
    """A cell with what was measured of its recording; None where there is none."""

    def __init__(self, cell: Cell, evidence: Evidence | None, words: str) -> None:
        self.cell, self.evidence, self.words = cell, evidence, words


class _Ears:
    def __init__(
        self,
        listeners: Listeners,
        question: Question,
        reference: Waveform | None,
        reporter: Reporter,
        meter: ProgressMeter,
    ) -> None:
        self._listeners, self._question = listeners, question
        self._reporter, self._meter = reporter, meter
        text = question.reference.text if question.reference else None
        self._reference = listeners.listen(reference, text)[0] if reference is not None else None

    def hear(self, column: Column) -> list[_Heard]:
        """Return what was measured of a candidate's recordings."""
        return [self._hear(cell, column.candidate.audio(cell)) for cell in column.candidate.cells]

    def _hear(self, cell: Cell, audio: Path | None) -> _Heard:
        self._reporter.check_stop(_STOPPED)
        self._meter.advance()
        if audio is None:
            return _Heard(cell, None, "")
        samples = read_audio(audio, SAMPLE_RATE)
        evidence, words = self._listeners.listen(samples, self._question.texts[cell.text].text)
        return _Heard(cell, evidence, words)

    def judged(self, heard: _Heard, recordings: Sequence[_Heard]) -> Cell:
        """Return a cell with what is said of it as one of the voice of the reference and the recordings."""
        cell = heard.cell
        if heard.evidence is None:
            return cell
        own = [each.evidence for each in recordings if each is not heard and each.evidence is not None]
        found = judgement(heard.evidence, self._voice(own), heard.words)
        has_words = heard.evidence.alignment is not None
        update = {name: getattr(found, name) for name in Judgement.model_fields if name != "seconds"}
        update["findings"] = _together(cell.rules, found.findings, has_words)
        return cell.model_copy(update=update)

    def _voice(self, recordings: Sequence[Evidence]) -> Voice:
        """Return the voice that is wanted: the reference's, and that of the user's recordings."""
        known = [*([self._reference] if self._reference else []), *recordings]
        embeddings = [each.embedding for each in known if each.embedding is not None]
        text = letters_of_text(self._reference.alignment) if self._reference else ""
        return voice_of(known, centre(embeddings) if embeddings else None, text)


def _together(
    rules: Sequence[SpeechFault], heard: Sequence[SpeechFault], has_words: bool
) -> list[SpeechFault]:
    """Return what was found by either; where words were heard, of the rules only what codes alone show."""
    kinds = {fault.kind for fault in heard}
    kept = [fault for fault in rules if not has_words or fault.kind in _OF_CODES]
    return [*(fault for fault in kept if fault.kind not in kinds), *heard]
