"""What has to be done within a time, measured against its limit.

    python benchmarks/limits.py

Prints a table and exits with 1 if a limit is exceeded. Arithmetic is counted in CPU seconds, what a person
waits for in wall-clock seconds. Nothing here is a test, because a loaded machine would fail it. The wizard's
limits are measured by `wizard.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from fishtune.core.config.presets import lora_preset, model_preset
from fishtune.core.config.project import Project
from fishtune.core.config.settings import TrainOptions, ValidateSettings
from fishtune.core.events import Finished, Step, decode_event, encode_event
from fishtune.core.files import write_json
from fishtune.core.hardware.memory.needs import TrainingNeeds
from fishtune.core.hardware.memory.suggest import Available, suggest_training
from fishtune.core.jobs.follow import EventFollower, read_lines
from fishtune.core.jobs.record import EVENTS_FILE, JOB_FILE, Place
from fishtune.core.jobs.start import new_job, start_job, stop_job
from fishtune.core.messages import Message
from fishtune.core.model.families.s1 import S1
from fishtune.core.pipeline.status import step_statuses
from fishtune.core.shards.index import ShardIndex
from fishtune.core.shards.manifest import MANIFEST_FILE
from fishtune.core.shards.wire import Sentence, ShardWriter, encode_sentence
from fishtune.core.units import GIB
from fishtune.tui.catalogue import sentence, use_language
from measures import Measure, show
from packing import make_clips

S1_MINI = S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json")
EVENTS = 1_000_000
SENTENCES = 200_000
JOBS = 300
CLIPS = 20_000


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return how long `action` takes by `clock`."""
    begun = clock()
    action()
    return clock() - begun


def slowest_prediction() -> float:
    """Return the CPU seconds of the slowest prediction of training memory, each the best of five."""
    taken = []
    for preset in ("r_8_alpha_16", "full"):
        for checkpointing in ("none", "blocks"):
            options = TrainOptions(batch_tokens=16384, checkpointing=checkpointing)
            runs = [seconds(lambda o=options, p=preset: _predict(o, p), time.process_time) for _ in range(5)]
            taken.append(min(runs))
    return max(taken)


def _predict(options: TrainOptions, preset: str) -> None:
    TrainingNeeds(S1_MINI, options, lora_preset(preset)).predicted(16384)


def suggestion() -> float:
    """Return the CPU seconds of a suggestion for a card that needs the batch cut several times."""
    needs = TrainingNeeds(
        S1_MINI, TrainOptions(batch_tokens=65536), lora_preset("r_16_alpha_16"), longest=1024
    )
    return seconds(lambda: suggest_training(needs, Available.card(24 * GIB)), time.process_time)


def write_events(folder: Path) -> Path:
    """Write a run of a million steps."""
    step = Step(
        step=1,
        total_steps=EVENTS,
        loss=5.0,
        base_loss=3.0,
        semantic_loss=2.0,
        learning_rate=1e-4,
        clip_passes=1.0,
    )
    path = folder / "events.jsonl"
    block = b"".join(encode_event(step.model_copy(update={"step": number})) for number in range(1000))
    with path.open("wb") as file:
        for _ in range(EVENTS // 1000):
            file.write(block)
    return path


def write_shards(folder: Path) -> Path:
    """Write as many sentences as a very large data set has, and their index."""
    random = np.random.default_rng(0)
    records = [
        encode_sentence(Sentence((f"sentence {number}",), random.integers(0, 60, (10, 3))))
        for number in range(100)
    ]
    folder.mkdir()
    with ShardWriter(folder) as writer:
        for number in range(SENTENCES):
            writer.add(f"speaker {number // 1000}", records[number % 100])
    manifest = {
        "shards": {path.name: path.stat().st_size for path in folder.glob("*.protos")},
        "clips": [f"speaker {number // 1000}/clip {number:06d}" for number in range(SENTENCES)],
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    ShardIndex.open(folder)
    return folder


def stop_now(folder: Path) -> float:
    """Return the seconds until a job that answers to nothing is ended by `fishtune stop --now`."""
    data = folder / "data"
    (data / "speaker").mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, 44_100).astype(np.float32)
    for number in range(2000):
        soundfile.write(data / f"speaker/{number}.flac", noise, 44_100)
    job = start_job(
        "validate", ValidateSettings(data=data), Place(results=folder / "results", project="limits")
    )
    assert job.record.process is not None
    os.kill(job.record.process.pid, signal.SIGSTOP)
    return seconds(lambda: stop_job(job, now=True))


def findings_in_korean() -> float:
    """Return the CPU seconds that the wizard takes to say 5,000 findings in Korean."""
    use_language("ko")
    silent = Message("{loudness:.1f} LUFS", loudness=-61.0)
    kinds: tuple[tuple[str, dict[str, object]], ...] = (
        ("{file} is clipped: {number} samples are cut off at full scale.", {"number": 12}),
        ("{file} is nearly silent ({level}).", {"level": silent}),
        ("{file} cannot be read as audio: it is damaged, or not what its name says.", {}),
        ("{file} has {number} lines, which are joined.", {"number": 3}),
        ("Packing takes out {parts} of {file}.", {"parts": "[laugh]"}),
        ("{file} has no transcript.", {}),
    )
    findings = []
    for number in range(5000):
        template, values = kinds[number % len(kinds)]
        findings.append(Message(template, file=f"/data/SPEAKER/{number}.wav", **values))
    assert all(sentence(finding) != finding for finding in findings[: len(kinds)]), "a template has changed"
    return seconds(lambda: [sentence(finding) for finding in findings], time.process_time)


def jobs_listed(folder: Path) -> float:
    """Return the seconds that `fishtune jobs` takes where each was a check with ten thousand findings."""
    finding = {"code": "text-empty", "path": "data/speaker/clip.lab", "what": "clip.lab is empty."}
    events = folder / EVENTS_FILE
    events.write_bytes(encode_event(Finished(summary={"findings": [finding] * 10_000})))
    place = Place(results=folder / "results", project="limits")
    with new_job("validate", ValidateSettings(data=folder), place) as (job, _):
        record = job.record.model_dump(mode="json")
    for number in range(JOBS):
        other = place.jobs / f"20260101-{number:06}-validate"
        other.mkdir()
        write_json(other / JOB_FILE, record | {"id": other.name, "number": number})
        os.link(events, other / EVENTS_FILE)
    command = [sys.executable, "-P", "-m", "fishtune.core.cli", "jobs", "--results", str(place.results)]
    return seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))


def looks_at_a_project(folder: Path) -> tuple[float, float]:
    """Return the CPU seconds of the wizard's first and second look at a large project."""
    project = Project.create(folder, "limits")
    make_clips(project.data, CLIPS)
    first, second = (seconds(lambda: step_statuses(project), time.process_time) for _ in range(2))
    return first, second


def measures(folder: Path) -> Iterator[Measure]:
    """Measure everything, in a folder of its own inside `folder`."""
    slowest = slowest_prediction() * 1000
    yield Measure("prediction of training memory, slowest of four (CPU)", slowest, "ms", at_most=10)
    yield Measure("suggestion of a training batch (CPU)", suggestion(), "s", at_most=1)
    yield Measure("5,000 findings said in Korean (CPU)", findings_in_korean(), "s", at_most=0.2)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        folder = Path(name)
        events = write_events(folder)
        last = seconds(lambda: EventFollower(events, last=20).poll())
        yield Measure(f"{EVENTS:,} events, the last 20", last, "s", at_most=0.2)
        yield Measure(
            f"{EVENTS:,} events, all",
            seconds(lambda: sum(1 for _ in map(decode_event, read_lines(events)))),
            "s",
        )
        shards = write_shards(folder / "protos")
        first = seconds(lambda: ShardIndex.open(shards).read(0))
        yield Measure(f"first of {SENTENCES:,} sentences", first, "s", at_most=2)
        listed = jobs_listed(folder)
        yield Measure(f"fishtune jobs, of {JOBS} jobs with 10,000 findings each", listed, "s", at_most=3)
        first, second = looks_at_a_project(folder / "project")
        yield Measure(f"first look at a project of {CLIPS:,} clips (CPU)", first, "s", at_most=3)
        yield Measure("the next look (CPU)", second, "s", at_most=1)
        stopped = stop_now(folder)
        yield Measure("fishtune stop --now, of a process that does not answer", stopped, "s", at_most=2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        sys.exit(not show("limits", measures(Path(work))))
