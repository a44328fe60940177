"""Training data: samples on demand, their lengths, and a loader that does not grow with the data set."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.events import Progress
from fishtune.core.model.config import read_config
from fishtune.core.packing.shards import Sentence, ShardWriter, encode_sentence
from fishtune.core.text.prompts import IGNORED
from fishtune.core.text.tokenizer import Tokenizer
from fishtune.core.training.data import PlannedSteps, SampleSource, TrainingData, load_data, step_loader
from fishtune.core.training.sampler import NO_REFERENCE, Position

from .recorder import Recorder
from .training_kit import shards, small_base, train_settings  # noqa: F401 - fixtures


def load(
    base: Path, protos: Path, tmp_path: Path, reporter: Recorder | None = None, **changes: object
) -> TrainingData:
    settings = train_settings(tmp_path, base, protos, **changes)
    return load_data(settings, read_config(base), Tokenizer.from_directory(base), reporter or Recorder())


@pytest.mark.parametrize("prompt", ["inference", "legacy"])
def test_lengths_known_beforehand_are_those_of_the_samples(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    prompt: str,
) -> None:
    data = load(small_base, shards, tmp_path, prompt=prompt, batch_tokens=1024)
    clips = np.arange(len(data.table.turns))
    for epoch in range(3):
        references = data.references.choose(clips, epoch)
        columns = data.references.columns(clips, references)
        for clip, reference, length in zip(clips, references, columns, strict=True):
            sequence = data.source.sequence(int(clip), int(reference))
            assert sequence.tokens.shape[1] == length
            assert (sequence.labels[0] != IGNORED).sum() == data.table.frames[clip] + 1
        if prompt == "legacy":
            assert (references == NO_REFERENCE).all()


def test_lengths_are_measured_once_and_again_when_the_prompt_changes(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    def measured(**changes: object) -> bool:
        reporter = Recorder()
        load(small_base, shards, tmp_path, reporter, **changes)
        return any(event.task == "measuring transcripts" for event in reporter.of(Progress))

    measured(prompt="legacy")
    assert measured(prompt="inference")
    assert not measured(prompt="inference")


def test_a_source_sent_to_another_process_makes_the_same_samples(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    source = load(small_base, shards, tmp_path).source
    there: SampleSource = pickle.loads(pickle.dumps(source))
    assert np.array_equal(source.sequence(3, 1).tokens, there.sequence(3, 1).tokens)


def test_the_reference_comes_before_the_target_and_carries_no_loss(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    source = load(small_base, shards, tmp_path).source
    sequence = source.sequence(0, 1)
    begin = source.tokenizer.semantic_begin_id
    spoken = sequence.tokens[1:, sequence.tokens[0] >= begin]
    both = np.concatenate([source.turn(1).codes, source.turn(0).codes], axis=1)
    assert np.array_equal(spoken, both[:, : spoken.shape[1]])
    learnt = sequence.labels[:, sequence.labels[0] >= begin]
    assert np.array_equal(learnt[1:], source.turn(0).codes)


_LOADER = """
import resource, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import psutil, torch
from tests.test_training_data import load, step_loader, PlannedSteps, Position
from tests.recorder import Recorder
began = time.monotonic()
data = load(Path({base!r}), Path({protos!r}), Path({folder!r}), batch_tokens=256)
sampler = data.sampler(256, 1, 1)
loader = step_loader(data.source, PlannedSteps(sampler.steps(Position(), None), 0, 1), num_workers=1)
batches = iter(loader)
next(batches)
first = time.monotonic() - began
for _ in range(200):
    next(batches)
(worker,) = psutil.Process().children()
print(first, worker.memory_full_info().uss, psutil.Process().memory_full_info().uss)
"""


def _measure_loader(base: Path, protos: Path, folder: Path) -> tuple[float, int, int]:
    """Return seconds to the first batch, and the own memory of the worker and of its parent, in bytes."""
    program = _LOADER.format(
        root=str(Path(__file__).parent.parent), base=str(base), protos=str(protos), folder=str(folder)
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, worker, parent = done.stdout.split()
    return float(first), int(worker), int(parent)


def _write_many(folder: Path, count: int) -> Path:
    generator = np.random.default_rng(0)
    codes = [generator.integers(0, 60, (10, 6)) for _ in range(50)]
    folder.mkdir()
    with ShardWriter(folder) as writer:
        for number in range(count):
            sentence = Sentence((f"thing {number}",), codes[number % 50])
            writer.add(f"S{number * 20 // count:02}", encode_sentence(sentence))
    return folder


@pytest.mark.slow
def test_200_000_sentences_cost_a_loader_less_than_50_mib_and_begin_within_2_seconds(
    small_base: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    few, many = _write_many(tmp_path / "few", 200), _write_many(tmp_path / "many", 200_000)
    for protos in (few, many):
        load(small_base, protos, tmp_path, batch_tokens=256)  # index and lengths are made once
    _, worker_of_few, parent_of_few = _measure_loader(small_base, few, tmp_path)
    began, worker_of_many, parent_of_many = _measure_loader(small_base, many, tmp_path)
    print(
        f"first batch {began:.2f} s, worker {(worker_of_many - worker_of_few) / 2**20:.1f} MiB more, "
        f"parent {(parent_of_many - parent_of_few) / 2**20:.1f} MiB more"
    )
    assert worker_of_many - worker_of_few < 50 * 2**20
    assert parent_of_many - parent_of_few < 50 * 2**20
    assert began < 2


def test_planning_needs_no_look_at_the_clips(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(small_base, shards, tmp_path)
    data = load(small_base, shards, tmp_path)
    read: list[int] = []
    plain = SampleSource.turn
    monkeypatch.setattr(SampleSource, "turn", lambda self, clip: read.append(clip) or plain(self, clip))
    sampler = data.sampler(128, 1, 1)
    sampler.epoch(0)
    assert not read
    loader = step_loader(data.source, PlannedSteps(sampler.steps(Position(), None), 0, 1), num_workers=0)
    step = next(iter(loader))
    used = {*step.plan.clips.tolist(), *step.plan.micro_batches[0].references.tolist()} - {NO_REFERENCE}
    assert set(read) == used, "only the clips of the batch are read"
