"""What the tests of training share: packed clips, settings, a recording reporter, killed processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import tomli_w
import torch
from fishtune.core.events import Event, Reporter
from fishtune.core.files import write_text
from fishtune.core.model.checkpoint import build_model, save_model
from fishtune.core.model.config import DualARConfig
from fishtune.core.packing.shards import Sentence, ShardWriter, encode_sentence
from fishtune.core.presets import user_presets_folder
from fishtune.core.settings import TrainSettings
from fishtune.core.text.tokenizer import Tokenizer

from .conftest import GOLDEN

E = TypeVar("E")


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
    tokenizer = Tokenizer.from_directory(directory)
    model = build_model(DualARConfig.from_dict(content), tokenizer, directory).to_empty(device="cpu")
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


class Recorder(Reporter):
    """Keeps every event; may be told to ask for a stop, or do anything else, at an event."""

    def __init__(self, at: Callable[[Event], None] | None = None) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._at = at

    def emit(self, event: Event) -> None:
        self.events.append(event)
        if self._at is not None:
            self._at(event)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type."""
        return [event for event in self.events if isinstance(event, kind)]


def run_until_killed(work: Callable[[], object]) -> None:
    """Run `work` in a forked process, which must end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)  # threads do not survive a fork
            work()
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status


def kill_self() -> None:
    """End this process as the kernel would."""
    os.kill(os.getpid(), signal.SIGKILL)
