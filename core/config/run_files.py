"""What the checkpoints of a run are called. Imports no torch: displays list checkpoints too.

results/NAME/checkpoints/step_000000100.ckpt      Lightning checkpoint: everything to go on from
results/NAME/checkpoints/step_000000100/          PEFT adapter folder (not in full fine-tuning)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, UsageError

CHECKPOINTS = "checkpoints"
"""Folder of a run's checkpoints."""
CHECKPOINT_SUFFIX = ".ckpt"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
"""The two files of a PEFT adapter folder."""
_NAME = re.compile(rf"step_(\d{{9,}}){re.escape(CHECKPOINT_SUFFIX)}")


def checkpoint_folder(run_folder: Path) -> Path:
    """Return where a run's checkpoints lie."""
    return run_folder / CHECKPOINTS


def checkpoint_path(run_folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step."""
    return checkpoint_folder(run_folder) / f"step_{step:09d}{CHECKPOINT_SUFFIX}"


def adapter_folder(checkpoint: Path) -> Path:
    """Return the PEFT adapter folder beside a checkpoint."""
    return checkpoint.with_suffix("")


def merged_from(record: Any) -> Path | None:
    """Return the checkpoint that the content of a merge's record names; None where it names none."""
    try:
        return Path(record["adapter"]["path"])
    except (KeyError, TypeError):
        return None


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step that a checkpoint's name tells.

    Raises:
        UsageError: it is not called like a checkpoint.
    """
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        raise UsageError(
            "{checkpoint} is not called like a checkpoint.",
            "Name a file such as step_000000100.ckpt.",
            checkpoint=checkpoint,
        )
    return int(match[1])


def refuse_missing(checkpoint: Path) -> None:
    """Raise CheckpointError where a checkpoint or adapter folder is not there."""
    if not checkpoint.exists():
        raise CheckpointError(
            "The checkpoint {file} does not exist.",
            "Training writes them to results/NAME/checkpoints; the adapter folder beside one will do too.",
            file=checkpoint,
        )


def list_checkpoints(run_folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest step first."""
    try:
        entries = list(checkpoint_folder(run_folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((path for path in entries if _NAME.fullmatch(path.name)), key=checkpoint_step)
