"""Where curves are written for other tools, and what the libraries are kept from saying."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import math
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from ...config.settings import TrainSettings
from ...errors import UsageError
from ...files import atomic_open

METRICS_FILE = "metrics.csv"
"""In a run's folder: one file over all its jobs."""
_COLUMNS = (
    "step",
    *(f"train/{name}" for name in ("loss", "base_loss", "semantic_loss", "top_5_accuracy")),
    *(f"train/{name}" for name in ("gradient_norm", "learning_rate", "clip_passes")),
    *(f"held_out/{name}" for name in ("loss", "base_loss", "semantic_loss", "top_5_accuracy")),
)


class RunCsv(Logger):
    """Writes one table per run: a row for each step's training, and one for each held-out measurement.

    A resumed run continues the file: rows of steps that it does again, or that were given up, are taken out.

    Args:
        step: the last one that is done.
    """

    def __init__(self, path: Path, step: int) -> None:
        super().__init__()
        kept: list[dict[str, str]] = []
        if step:
            with (
                contextlib.suppress(FileNotFoundError, csv.Error, UnicodeDecodeError),
                path.open(newline="", encoding="utf-8") as file,
            ):
                kept = [row for row in csv.DictReader(file) if _number(row.get("step")) <= step]
        with atomic_open(path) as target:
            text = io.TextIOWrapper(target, encoding="utf-8", newline="", write_through=True)
            writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
            text.detach()
        self._file = path.open("a", newline="", encoding="utf-8", buffering=1)
        self._writer = csv.DictWriter(self._file, _COLUMNS, extrasaction="ignore")

    @property
    def name(self) -> str:
        """What Lightning calls it."""
        return "csv"

    @property
    def version(self) -> str:
        """There is only one."""
        return ""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write a row; it is in the file when this returns."""
        self._writer.writerow({"step": step, **metrics})

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Settings are in the job's record."""

    def finalize(self, status: str) -> None:  # noqa: ARG002 - the interface's
        """Close the file."""
        self._file.close()


def _number(text: str | None) -> float:
    try:
        return float(text or "inf")
    except ValueError:
        return math.inf


def make_loggers(settings: TrainSettings, folder: Path, step: int) -> list[Logger]:
    """Return the loggers of a run in `folder` that goes on after `step`.

    Raises:
        UsageError: the package of a logger is not installed.
    """
    loggers: list[Logger] = []
    if "tensorboard" in settings.loggers:
        # Steps that a killed run had logged beyond its last checkpoint are computed, and logged, again.
        loggers.append(TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step + 1))
    if "csv" in settings.loggers:
        loggers.append(RunCsv(folder / METRICS_FILE, step))
    if "wandb" in settings.loggers:
        try:
            loggers.append(WandbLogger(project="fishtune", name=settings.project, save_dir=folder))
        except ModuleNotFoundError as error:
            raise UsageError(
                "The logger wandb needs a package that is not installed.",
                "Install it with: pip install fishtune[wandb], or leave it out of --logger.",
            ) from error
    return loggers


def quiet_libraries() -> None:
    """Keep the libraries' advertising and advice out of the log; errors still appear."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
