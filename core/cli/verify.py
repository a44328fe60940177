"""`fishtune verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.settings import CODEC_PRESET, ModelOptions
from .console import err, out, print_json
from .options import Json
from .running import find_project


def verify(
    directory: Annotated[
        Path | None,
        typer.Argument(help="Checkpoint directory, downloaded or merged.", show_default="the project's base"),
    ] = None,
    config_name: Annotated[
        str, typer.Option(help="Codec preset, where the directory has no codec_config.json.")
    ] = CODEC_PRESET,
    json: Json = False,
) -> None:
    """Check that a model directory is whole: all weights there, of the right shape, every number finite.

    Example: fishtune verify checkpoints/openaudio-s1-mini
    """
    from ..stages.verify.run import verify as check

    if directory is None:
        project = find_project()
        directory = project.base if project else ModelOptions().path

    result = check(directory, config_name, lambda name: err.print(f"reading {name}"))
    if json:
        print_json(result.model_dump(mode="json"))
        return
    out.print(
        f"{directory} is sound: {len(result.files)} files, {result.tensors} tensors, "
        f"{result.parameters / 1e6:,.1f} M parameters."
    )
