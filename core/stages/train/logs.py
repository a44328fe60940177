"""Where curves are written for other tools, and what the libraries are kept from saying."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from ...config.settings import TrainSettings
from ...errors import UsageError


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
        loggers.append(CSVLogger(folder, name="csv"))
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
