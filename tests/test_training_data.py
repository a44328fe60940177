"""Training data: samples on demand, their lengths, and a loader that does not grow with the data set."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fishtune.core.events import Progress
from fishtune.core.model import base_hash as base
from fishtune.core.model.base_hash import base_hash
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.shards.manifest import LENGTHS_FILE
from fishtune.core.shards.wire import Sentence, ShardWriter, encode_sentence
from fishtune.core.stages.train.data import PlannedSteps, SampleSource, TrainingData, load_data, step_loader
from fishtune.core.stages.train.sampler import NO_REFERENCE, Position
from fishtune.core.text.prompts import IGNORED

from .recorder import Recorder
from .training_kit import shards, small_base, train_settings  # noqa: F401 - fixtures


def load(
    model: Path, protos: Path, tmp_path: Path, reporter: Recorder | None = None, **changes: object
) -> TrainingData:
    settings = train_settings(tmp_path, model, protos, **changes)
    return load_data(settings, ModelDirectory.open(model), reporter or Recorder())


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
    begin = source.base.tokenizer.semantic_begin_id
    spoken = sequence.tokens[1:, sequence.tokens[0] >= begin]
    both = np.concatenate([source.turn(1).codes, source.turn(0).codes], axis=1)
    assert np.array_equal(spoken, both[:, : spoken.shape[1]])
    learnt = sequence.labels[:, sequence.labels[0] >= begin]
    assert np.array_equal(learnt[1:], source.turn(0).codes)


def _pack(folder: Path, clips: list[tuple[str, str, int]]) -> Path:
    """Pack clips given by speaker, text and frames; the same text has the same codes."""
    folder.mkdir()
    with ShardWriter(folder) as writer:
        for speaker, text, frames in clips:
            codes = np.random.default_rng(sum(text.encode())).integers(0, 60, (10, frames))
            writer.add(speaker, encode_sentence(Sentence((text,), codes)))
    return folder


CLIPS = [
    (speaker, f"{speaker} says thing {number}.", 5 + number % 7) for speaker in "AB" for number in range(20)
]


def _seen(data: TrainingData) -> list[list[tuple[str, str]]]:
    """Return what two epochs are made of: the texts of every micro-batch's clips and references."""
    sampler = data.sampler(256, 1, 1)

    def text(clip: int) -> str:
        return data.source.turn(clip).text if clip != NO_REFERENCE else ""

    return [
        [
            (text(clip), text(reference))
            for clip, reference in zip(part.clips.tolist(), part.references.tolist(), strict=True)
        ]
        for epoch in range(2)
        for part in sampler.epoch(epoch)
    ]


@pytest.mark.parametrize("change", ["files renamed", "speakers renamed in order", "a clip that is too long"])
def test_what_a_run_sees_does_not_depend_on_names_or_on_clips_that_are_left_out(
    small_base: Path,  # noqa: F811
    tmp_path: Path,
    change: str,
) -> None:
    changed = {
        "files renamed": [*CLIPS[10:20], *CLIPS[:10], *CLIPS[20:][::-1]],
        "speakers renamed in order": [*CLIPS[20:], *CLIPS[:20]],
        "a clip that is too long": [("A", "Far too long.", 900), *CLIPS, ("B", "This too.", 800)],
    }[change]
    before = load(small_base, _pack(tmp_path / "a", CLIPS), tmp_path, batch_tokens=256)
    after = load(small_base, _pack(tmp_path / "b", changed), tmp_path, batch_tokens=256)
    assert after.fingerprint == before.fingerprint
    assert np.array_equal(after.split.held_out, before.split.held_out)
    assert _seen(after) == _seen(before)


def test_another_clip_is_another_data_set_but_leaves_the_held_out_clips_where_they_are(
    small_base: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    more = [*CLIPS, *((speaker, f"{speaker} adds {number}.", 9) for speaker in "AB" for number in range(9))]
    before = load(small_base, _pack(tmp_path / "a", CLIPS), tmp_path, batch_tokens=256, held_out=0.3)
    after = load(small_base, _pack(tmp_path / "b", more), tmp_path, batch_tokens=256, held_out=0.3)
    assert after.fingerprint != before.fingerprint

    def texts(data: TrainingData, clips: np.ndarray) -> set[str]:
        return {data.source.turn(clip).text for clip in clips.tolist()}

    assert texts(before, before.split.held_out) <= texts(after, after.split.held_out)
    assert texts(before, before.split.training) <= texts(after, after.split.training)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-8],
        lambda content: content + b"x",
        lambda content: content[:150] + bytes([content[150] ^ 1]) + content[151:],
        lambda content: content[:130] + bytes([content[130] ^ 1]) + content[131:],
        lambda content: content.replace(b"'shape'", b"'shape\xa7"),
        lambda content: content.replace(b"(14,)", b"(10, 100000000000000)"),
        lambda content: b"\x93NUMPY\x03\0\0\0\0\x7f" + b"\xff" * 200,
        lambda content: b"",
        lambda content: bytes(len(content)),
    ],
)
def test_damaged_lengths_are_measured_anew(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
) -> None:
    folder = tmp_path / "protos"
    folder.mkdir()
    (folder / "00000000.protos").write_bytes((shards / "00000000.protos").read_bytes())
    expected = load(small_base, folder, tmp_path).table.turns
    content = (folder / LENGTHS_FILE).read_bytes()
    (folder / LENGTHS_FILE).write_bytes(damage(content))
    tracemalloc.start()
    assert np.array_equal(load(small_base, folder, tmp_path).table.turns, expected)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    assert (folder / LENGTHS_FILE).read_bytes() == content


def test_a_kept_hash_of_the_base_is_believed_only_if_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.pth").write_bytes(b"weights" * 100)
    expected = hashlib.sha256(b"weights" * 100).hexdigest()
    assert base_hash(tmp_path, Recorder()) == expected
    kept = base._kept_file(tmp_path / "model.pth")
    whole = kept.read_text()
    again = Recorder()
    assert base_hash(tmp_path, again) == expected
    assert not again.of(Progress)
    other = hashlib.sha256(b"other").hexdigest()
    for damaged in (
        "[" * 10_000,
        "[]",
        "",
        "{}",
        whole.replace(expected, other),
        whole.replace(f'"{expected}"', "[]"),
        whole[:-20],
        "\xff",
        "9" * 5000,
    ):
        kept.write_text(damaged, encoding="latin-1")
        assert base_hash(tmp_path, Recorder()) == expected
        assert kept.read_text() == whole


def test_other_weights_of_the_same_size_and_time_have_another_hash(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.pth"
    weights.write_bytes(b"a" * 10**6)
    first = base_hash(tmp_path, Recorder())
    state = weights.stat()
    weights.write_bytes(b"b" * 10**6)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert base_hash(tmp_path, Recorder()) != first


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
