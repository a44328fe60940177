"""What the other parts work on, made on the machine itself: random weights, packed clips, recordings."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from fishtune.core.demo.checkpoint import write_checkpoint
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.families import read_configuration
from fishtune.core.shards.wire import Sentence, ShardWriter, encode_sentence
from fishtune.core.text.prompts import Turn

from .bench import Bench
from .running import Row

RATE = 44_100
_TEXT = "A sentence as long as every other of these, number {:05d}."
"""Of one length in tokens, so that no micro-batch is padded and the tokens of a step are known."""
_MICRO_BATCHES = 40
"""In an epoch; all of them full, since their number of clips divides that of all."""
_DISTINCT = 12
"""Recordings that differ; the others are copies, since nothing is found again by content."""


def make_inputs(bench: Bench) -> Iterator[Row]:
    """Make what is not there yet; yield what took how long."""
    for folder, make in (
        (bench.base, _write_base),
        (bench.protos, _write_clips),
        (bench.recordings, _write_recordings),
    ):
        yield {"what": folder.name, "seconds": _made(bench, folder, make)}


def _made(bench: Bench, folder: Path, make: Callable[[Bench, Path], None]) -> float:
    began = time.perf_counter()
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        make(bench, unfinished)
        unfinished.rename(folder)
    return time.perf_counter() - began


def _write_base(bench: Bench, folder: Path) -> None:
    write_checkpoint(folder, shape=bench.sizes.shape)


def _write_clips(bench: Bench, folder: Path) -> None:
    config = read_configuration(bench.base).read_shape()
    draw = np.random.default_rng(0)
    shape = config.num_codebooks, bench.sizes.frames
    # The codec's residual codebooks are smaller than the model's.
    largest = min(config.codebook_size, 1024)
    clips = _MICRO_BATCHES * (bench.sizes.batch_tokens // sequence_length(bench))
    folder.mkdir()
    with ShardWriter(folder) as writer:
        for number in range(clips):
            codes = draw.integers(0, largest, shape)
            writer.add("speaker", encode_sentence(Sentence((_TEXT.format(number),), codes)))


def sequence_length(bench: Bench) -> int:
    """Return the tokens of every training sequence: a packed clip behind another one as its reference."""
    base = ModelDirectory.open(bench.base)
    turn = Turn(_TEXT.format(0), np.zeros((base.shape.num_codebooks, bench.sizes.frames), dtype=np.int64))
    return int(base.prompts.training_sequence("inference", [turn], turn).tokens.shape[1])


def _write_recordings(bench: Bench, folder: Path) -> None:
    speaker = folder / "speaker"
    speaker.mkdir(parents=True)
    for number in range(bench.sizes.recordings):
        file = speaker / f"{number:04d}.wav"
        if number < _DISTINCT:
            soundfile.write(file, noise(bench.sizes.recording_seconds, number), RATE, subtype="PCM_16")
        else:
            shutil.copyfile(speaker / f"{number % _DISTINCT:04d}.wav", file)


def noise(seconds: float, seed: int) -> np.ndarray:
    """Return noise of changing loudness, to which random weights give varied codes; float32."""
    samples = round(seconds * RATE)
    loud = np.linspace(0.02, 0.3, samples)
    return (np.random.default_rng(seed).normal(size=samples) * loud).clip(-1, 1).astype(np.float32)
