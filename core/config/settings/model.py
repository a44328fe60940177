"""Settings of the base model: which it is, where it lies, `fishtune download` and `fishtune verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from ..options import BASIC, Option
from ..strict import Table
from .types import CODEC_PRESET, DEFAULT_MODEL, MODELS_FOLDER, ModelName, UserPath, check_address


class ModelOptions(Table):
    """Which base model, and where it lies."""

    name: Annotated[ModelName, Option("Model", group=BASIC)] = DEFAULT_MODEL
    """A model preset (openaudio-s1-mini, s2-pro) or a hub repository, owner/name."""
    path: Annotated[UserPath | None, Option("Directory", group=BASIC, unset=f"{MODELS_FOLDER}/NAME")] = None
    """Checkpoint directory: where the files are, or go to."""
    revision: Annotated[str | None, Option("Revision", group=BASIC, unset="the newest")] = None
    """Branch, tag or commit of the repository."""

    @property
    def directory(self) -> Path:
        """Where the files are, or go to; relative to a project's folder."""
        return self.path or Path(MODELS_FOLDER) / self.name.rsplit("/", 1)[-1]


class DownloadSettings(Table):
    """`fishtune download`."""

    name: Annotated[ModelName, Option(argument=True)]
    """A model preset (openaudio-s1-mini, s2-pro) or a hub repository, owner/name."""
    local_dir: Annotated[UserPath, Option(unset=f"{MODELS_FOLDER}/NAME")]
    """Where the files go."""
    revision: Annotated[str | None, Option(unset="the newest")] = None
    """Branch, tag or commit."""
    endpoint: Annotated[
        Annotated[str, AfterValidator(check_address)] | None, Option(unset="HF_ENDPOINT, or the hub's own")
    ] = None
    """Address of a mirror of the hub."""


class VerifySettings(Table):
    """`fishtune verify`."""

    directory: Annotated[UserPath, Option(argument=True, unset="the project's base")]
    """Checkpoint directory, downloaded or merged."""
    config_name: str = CODEC_PRESET
    """Codec preset, used where no codec_config.json lies beside the weights."""
