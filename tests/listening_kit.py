"""A run as an audition leaves it: recordings with numbers and faults, and hostile transcripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from fishtune.core.config.run_files import CHECKPOINTS
from fishtune.core.events import Event, Started, Step, Validation, encode_event
from fishtune.core.jobs.record import JobRecord
from fishtune.core.judge.faults import SpeechFault, SpeechFaultKind
from fishtune.core.judge.record import AUDITIONS, audition_folder, write_record
from fishtune.core.judge.results import (
    AuditionCandidate,
    AuditionResult,
    AuditionText,
    CandidateKind,
    Cell,
    Measure,
    Measures,
    Pitch,
    TextSource,
)
from fishtune.core.messages import Message

SAMPLE_RATE = 44_100
HOSTILE = '</script><img src=x onerror="window.hacked=1"><b>bold</b> & "quotes" \u2028'
TEXTS = [
    "Could you say that once more?",
    "The last train to the coast leaves a few minutes after nine.",
    HOSTILE,
    "He said: 3 < 4, and nobody minded.",
]


def sound(seconds: float, hertz: float, loudness: float = 0.3) -> np.ndarray:
    """Return a tone like a voice: harmonics that swell and fade."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * hertz * harmonic * time) / harmonic for harmonic in range(1, 12))
    swell = 0.4 + 0.6 * np.abs(np.sin(2 * np.pi * 1.7 * time))
    return (loudness * swell * tone / np.abs(tone).max()).astype(np.float32)


def make_run(folder: Path, texts: list[str] = TEXTS, seeds: tuple[int, ...] = (1,)) -> Path:
    """Write `results/my-voice` with base, recordings, two checkpoints and one at half its strength."""
    run = folder / "results" / "my-voice"
    (run / CHECKPOINTS).mkdir(parents=True)
    _train(run, 1, range(1, 151))
    _train(run, 2, range(101, 201))  # killed after 150, continued from the checkpoint of 100
    asked = [
        AuditionText(text=text, source=TextSource.HELD_OUT if number == 1 else TextSource.OURS, clip="ANNA/7")
        for number, text in enumerate(texts)
    ]
    for number, (kind, step, strength) in enumerate(
        [
            (CandidateKind.RECORDING, None, 1.0),
            (CandidateKind.BASE, None, 1.0),
            (CandidateKind.CHECKPOINT, 100, 1.0),
            (CandidateKind.CHECKPOINT, 100, 0.5),
            (CandidateKind.CHECKPOINT, 200, 1.0),
        ]
    ):
        checkpoint = None
        if step is not None:
            checkpoint = run / CHECKPOINTS / f"step_{step:09d}.ckpt"
            checkpoint.open("ab").close()  # keeps its time
        place = audition_folder(checkpoint, strength) if checkpoint else run / AUDITIONS / kind
        place.mkdir(parents=True)
        recording = kind is CandidateKind.RECORDING
        cells = [
            _cell(place, text, None if recording else seed, number)
            for text in range(len(texts))
            for seed in (seeds[:1] if recording else seeds)
            if not recording or asked[text].source is TextSource.HELD_OUT
        ]
        candidate = AuditionCandidate(
            kind=kind,
            path=checkpoint or (None if recording else folder / "base"),
            modified=checkpoint.stat().st_mtime if checkpoint else None,
            step=step,
            strength=strength,
            folder=place,
            cells=cells,
            measures=Measures(
                faulty=Measure(mean=0.25, low=0.0, high=0.5, texts=len(cells)),
                wer=Measure(mean=0.04 * number, low=0.01, high=0.09, texts=len(cells)),
                similarity=Measure(mean=0.8 - 0.01 * number, low=0.6, high=0.9, texts=len(cells)),
            ),
        )
        table = AuditionResult(
            digest="questions",
            texts=asked,
            seeds=list(seeds),
            reference="ANNA/3",
            language="en",
            not_judged=[Message("The background is not judged: speechmos is not installed.")],
            candidates=[candidate],
        )
        write_record(table, place)
    return run


def _train(run: Path, number: int, steps: range) -> None:
    """Write what a job of training says."""
    folder = run / "jobs" / f"000{number}-train"
    folder.mkdir(parents=True)
    record = JobRecord(
        id=folder.name, stage="train", project=run.name, number=number, settings={}, folder=run, command=[]
    )
    (folder / "job.json").write_text(record.model_dump_json(), encoding="utf-8")
    events: list[Event] = [Started(stage="train")]
    losses = {"base_loss": 2.0, "semantic_loss": 4.0}
    if number == 1:
        events.append(Validation(step=0, loss=7.0, top_5_accuracy=0.2, **losses))
    for step in steps:
        loss = 4 + 3 / (1 + step / 40) + 0.2 * np.sin(step)
        events.append(Step(step=step, total_steps=200, loss=loss, learning_rate=1e-4, **losses))
        if step % 50 == 0:
            events.append(Validation(step=step, loss=loss + 0.3, top_5_accuracy=0.4, **losses))
    (folder / "events.jsonl").write_bytes(b"".join(map(encode_event, events)))


def _cell(place: Path, text: int, seed: int | None, number: int) -> Cell:
    name = f"{text}-{seed}.wav"
    seconds = 1.0 + 0.2 * text + 0.05 * number
    loudness = 0.08 if number == 1 else 0.5  # matched by the page
    missing = number == 4 and text == 3
    if not missing:
        soundfile.write(place / name, sound(seconds, 110 + 30 * number, loudness), SAMPLE_RATE)
    faults = []
    if number == 4 and text == 0:
        message = Message("The last {number} words are missing: {words}.", number=2, words="once <i>more</i>")
        faults = [SpeechFault(kind=SpeechFaultKind.MISSING_END, message=message)]
    return Cell(
        text=text,
        seed=seed,
        audio="" if missing else name,
        expected_seconds=seconds,
        ended=True,
        seconds=seconds,
        heard="could you say that",
        wer=0.05 * number,
        deletions=number,
        insertions=0,
        substitutions=0,
        similarity=0.9 - 0.1 * number,
        rate=14.2,
        pitch=Pitch(median=110 + 30 * number, spread=7.5),
        findings=faults,
    )
