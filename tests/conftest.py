"""Fixtures for everybody: nothing is written to the person's home, no network, few threads."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from .fake_nvml import fake_nvml, fake_nvml_library  # noqa: F401 - fixtures

# Two pytest workers share two cores; more threads than that only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_S2 = Path(__file__).parent / "golden-s2"


@pytest.fixture
def golden() -> Path:
    """Folder of the reference outputs (read only)."""
    return GOLDEN


@pytest.fixture
def golden_s2() -> Path:
    """Folder of the reference outputs of the S2 family (read only)."""
    return GOLDEN_S2


@pytest.fixture(scope="session")
def _new_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are not there yet, without a search among all that were made before."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def _private_home(_new_homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    home = next(_new_homes)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))


def write_model(directory: Path, **changes: Any) -> Path:
    """Write a checkpoint directory shaped as `golden/base`, random, with other keys of `config.json`."""
    # Imported here: tests that need no model must not load torch.
    import torch
    from fishtune.core.model.checkpoint import build_model
    from fishtune.core.model.families.s1 import S1
    from fishtune.core.model.families.s1.weights import save_model

    shutil.copytree(GOLDEN / "base", directory)
    content = json.loads((directory / "config.json").read_text(encoding="utf-8")) | changes
    (directory / "config.json").write_text(json.dumps(content), encoding="utf-8")
    model = build_model(S1().read_shape(content, "config.json"), S1().tokenizer(directory), directory)
    model = model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for key, weight in model.named_parameters():
        # Small embeddings under large layers: such a model hardly repeats itself, even when it is tied.
        spread = 0.1 if "norm" in key else 0.05 if "embeddings" in key else 0.3
        torch.nn.init.normal_(weight, 1.0 if "norm" in key else 0.0, spread, generator=generator)
    save_model(model, directory)
    return directory


@pytest.fixture
def model_directory(tmp_path: Path) -> Callable[..., Path]:
    """Write models in the test's folder: `write_model`, by name."""

    def write(name: str = "model", **changes: Any) -> Path:
        return write_model(tmp_path / name, **changes)

    return write


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete base checkpoint directory, tiny and random (read only: copy it to change it)."""
    # Imported here: tests that need no model must not load torch.
    from fishtune.core.demo.checkpoint import write_checkpoint

    directory = tmp_path_factory.mktemp("base") / "tiny"
    write_checkpoint(directory)
    return directory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, so that no worker ends with one of them alone."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Leave what all tests share out of every search for garbage from here on."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests for GPUs where there is none."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch  # only here: tests that need no model must not load it

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch can use; fishtune doctor says what is missing")


def pytest_configure() -> None:
    """Let Ctrl+C reach the programs under test, also where a shell started pytest in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
