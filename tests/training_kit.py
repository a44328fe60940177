"""What the tests of training share: packed clips, settings, a recording reporter, killed processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tomli_w
import torch
from fishtune.core.config.presets import user_presets_folder
from fishtune.core.config.settings import TrainSettings
from fishtune.core.events import Event, Step, Validation
from fishtune.core.files import write_text
from fishtune.core.jobs.writer import EventWriter
from fishtune.core.model.checkpoint import build_model
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.families.s1.prompts import S1Prompts
from fishtune.core.model.families.s1.weights import save_model
from fishtune.core.shards.wire import Sentence, ShardWriter, encode_sentence
from fishtune.core.stages.train import preflight, run_callback
from fishtune.core.stages.train.batches import Batch, collate
from fishtune.core.stages.train.run import run
from fishtune.core.stages.train.sampler import ClipTable
from fishtune.core.text.prompts import Turn

from .conftest import GOLDEN
from .recorder import Recorder

LIMIT = 512
"""Tokens of a sequence at most, where a test makes a table of clips."""


def make_batch(base: Path, lengths: tuple[int, ...] = (9, 4, 17), prompt: str = "inference") -> Batch:
    """Return a batch of clips of random codes, of the given frames."""
    tokenizer = S1().tokenizer(base)
    generator = np.random.default_rng(3)
    turns = [Turn(f"text {length}", generator.integers(0, 60, (10, length))) for length in lengths]
    return collate(
        [
            S1Prompts(tokenizer, 10).training_sequence(
                prompt, [turns[0]] if prompt == "inference" else [], turn
            )  # type: ignore[arg-type]
            for turn in turns
        ]
    )


def make_table(clips: int, speakers: int = 3) -> ClipTable:
    """Return a table of clips of random lengths below `LIMIT`."""
    generator = np.random.default_rng(clips)
    frames = generator.integers(1, LIMIT - 20, clips).astype(np.int32)
    return ClipTable(
        speakers=np.sort(generator.integers(0, speakers, clips)).astype(np.int32),
        turns=frames + 12,
        as_references=frames + 12,
        frames=frames,
    )


def write_shards(
    folder: Path, frames: dict[str, Iterable[int]], codebook_size: int = 64, num_codebooks: int = 10
) -> Path:
    """Pack clips of random codes, of the given frames for each speaker; return the folder of shards."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with ShardWriter(folder) as writer:
        for speaker, lengths in frames.items():
            for number, length in enumerate(lengths):
                codes = generator.integers(0, codebook_size, (num_codebooks, length))
                text = f"{speaker} says the {'other ' * (number % 4)}thing {number}."
                writer.add(speaker, encode_sentence(Sentence((text,), codes)))
    return folder


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base checkpoint, random and smaller still than `tiny_checkpoint`, output untied (read only)."""
    directory = tmp_path_factory.mktemp("base") / "small"
    shutil.copytree(GOLDEN / "base", directory)
    content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    content |= {"tie_word_embeddings": False, "n_fast_layer": 1}
    (directory / "config.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = S1().tokenizer(directory)
    model = build_model(S1().read_shape(content, "config.json"), tokenizer, directory).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.ones_(weight)
        else:
            torch.nn.init.normal_(weight, 0.0, 0.1, generator=generator)
    save_model(model, directory)
    return directory


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of two speakers, packed (read only)."""
    lengths = {"ANN": [12, 7, 20, 9, 15, 11, 18], "BOB": [8, 14, 10, 22, 13]}
    return write_shards(tmp_path_factory.mktemp("data") / "protos", lengths)


@pytest.fixture(scope="module")
def short_preflight() -> Iterator[None]:
    """Let the check before the first step compare few frames; its own tests compare as many as runs do.

    Of a tiny run it is else the fifth part.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "FRAMES", 2)
        yield


def train_settings(folder: Path, base: Path, protos: Path, **changes: Any) -> TrainSettings:
    """Return settings of a short run in `folder`, for bases with random weights."""
    values: dict[str, Any] = {
        "project": "run",
        "lora_config": "r_8_alpha_16",
        "results": folder / "results",
        "base": base,
        "protos": protos,
        "gate": False,
        "max_steps": 8,
        "batch_tokens": 128,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "validate_every": 4,
        "checkpoint_every": 4,
        "loggers": [],
        "device": "cpu",
    }
    return TrainSettings(**(values | changes))


def write_plain_preset() -> str:
    """Write a preset without dropout, whose numbers can be compared exactly; return its name."""
    targets = [r"(fast_)?layers\.\d+\.attention\.(wqkv|wo)", "(codebook_|fast_)?embeddings", "output"]
    content = {"description": "for tests", "rank": 4, "alpha": 8, "targets": targets}
    write_text(user_presets_folder() / "lora" / "plain.toml", tomli_w.dumps(content))
    return "plain"


@dataclass(frozen=True)
class Death:
    """Where a training process kills itself.

    `step` and `validation`: when it tells of that step; `saving`: with that share of the second checkpoint
    written; `adapter`: between the second checkpoint's adapter folder and its `.ckpt`.
    """

    at: Literal["step", "validation", "saving", "adapter"]
    value: float = 0


def run_until_killed(settings: TrainSettings, death: Death, events: Path | None = None) -> None:
    """Train in a process of its own, which must end by SIGKILL where `death` says.

    The process is forked from a server that has never trained: torch's threads do not survive a fork of
    this one.

    Args:
        events: file of a job that what it tells is written into.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fishtune.core.stages.train.run"])
    process = context.Process(target=_train_and_die, args=(settings, death, events))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _train_and_die(settings: TrainSettings, death: Death, events: Path | None) -> None:
    torch.set_num_threads(1)
    save, save_adapter = torch.save, run_callback.save_adapter

    writer = EventWriter(events) if events is not None else None

    def at(event: Event) -> None:
        if writer is not None:
            writer.write(event)
        kind = {"step": Step, "validation": Validation}.get(death.at)
        if kind is not None and isinstance(event, kind) and event.step == death.value:
            _kill_self()

    def save_in_part(content: Any, file: Any) -> None:
        save(content, file)
        if death.at == "saving" and content["global_step"] == 2 * settings.checkpoint_every:
            file.truncate(int(file.tell() * death.value))
            file.flush()
            _kill_self()

    def save_adapter_and_die(model: Any, base: Path, folder: Path) -> None:
        save_adapter(model, base, folder)
        if death.at == "adapter" and f"step_{2 * settings.checkpoint_every:09d}" in folder.name:
            _kill_self()

    torch.save, run_callback.save_adapter = save_in_part, save_adapter_and_die
    run(settings, Recorder(at))


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
