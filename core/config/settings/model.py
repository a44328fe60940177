"""Settings of the base model: which it is, where it lies, and `fishtune download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from ..options import BASIC, Option
from ..strict import Table
from .types import DEFAULT_MODEL, MODELS_FOLDER, ModelName, UserPath, check_address


class ModelOptions(Table):
    """Which base model, and where it lies."""

    name: Annotated[ModelName, Option("Model", group=BASIC)] = DEFAULT_MODEL
    """A model preset (openaudio-s1-mini) or a hub repository, owner/name."""
    path: Annotated[UserPath, Option("Directory", group=BASIC)] = Path(MODELS_FOLDER) / DEFAULT_MODEL
    """Checkpoint directory."""
    revision: Annotated[str | None, Option("Revision", group=BASIC, unset="the newest")] = None
    """Branch, tag or commit of the repository."""


class DownloadSettings(Table):
    """`fishtune download`."""

    name: ModelName
    """A model preset (openaudio-s1-mini) or a hub repository, owner/name."""
    local_dir: Annotated[UserPath, Option(unset=f"{MODELS_FOLDER}/NAME")]
    """Where the files go."""
    revision: Annotated[str | None, Option(unset="the newest")] = None
    """Branch, tag or commit."""
    endpoint: Annotated[
        Annotated[str, AfterValidator(check_address)] | None, Option(unset="HF_ENDPOINT, or the hub's own")
    ] = None
    """Address of a mirror of the hub."""
