"""Sets up a project that everything can be tried on: embedded recordings and a tiny random base model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ..config.project import PROJECT_FILE, Project
from ..config.settings import MODELS_FOLDER
from ..errors import UsageError
from ..files import recover_folder, write_bytes, write_text

MARKER = ".fishtune-demo"
RECORDINGS = "data-raw"
"""The recordings as they were made; `data` gets the normalised ones."""
BASE = f"{MODELS_FOLDER}/tiny-random"


def make_demo(folder: Path) -> Project:
    """Make the demo's project in `folder`, or complete the one that is there; return it.

    Raises:
        UsageError: the folder holds something else.
        StorageError: the disk is full or the folder cannot be written.
    """
    if folder.exists() and not (folder / MARKER).is_file():
        if not folder.is_dir():
            raise UsageError("{folder} is a file.", "Name a new folder: fishtune demo FOLDER", folder=folder)
        if any(folder.iterdir()):
            raise UsageError(
                "{folder} holds other things than the demo.",
                "Name a new folder: fishtune demo FOLDER",
                folder=folder,
            )
    write_text(folder / MARKER, "Made by fishtune demo; this folder may be removed.\n")
    _copy_recordings(folder / RECORDINGS)
    _make_base(folder / BASE)
    if not (folder / PROJECT_FILE).exists():
        _project(folder).save()
    return Project.load(folder)


def _copy_recordings(target: Path) -> None:
    for speaker in resources.files("fishtune.core.demo").joinpath("data").iterdir():
        for file in speaker.iterdir():
            copy = target / speaker.name / file.name
            if not copy.exists():
                write_bytes(copy, file.read_bytes())


def _make_base(directory: Path) -> None:
    recover_folder(directory)
    if not directory.exists():
        from .checkpoint import write_checkpoint

        write_checkpoint(directory)


def _project(folder: Path) -> Project:
    return Project.create(
        folder,
        "demo",
        dataset={"path": "data"},
        model={"name": "demo/tiny-random", "path": BASE},
        extract={"batch_size": 4},
        train={
            "lora_config": "r_8_alpha_16",
            "max_steps": 36,
            "learning_rate": 5e-3,
            "warmup_steps": 5,
            "batch_tokens": 512,
            "max_length": 512,
            "validate_every": 12,
            "checkpoint_every": 12,
            "held_out": 0.1,
            # The base is random: losses of a pretrained model cannot be expected.
            "gate": False,
        },
        # And what it says are no words.
        merge={"audition": False},
    )
