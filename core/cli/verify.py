"""`fishtune verify`."""

from __future__ import annotations

from ..config.settings import ModelOptions, VerifySettings
from ..config.strict import parse_flags
from ..units import format_count
from .console import out
from .options import Given, Json, takes
from .running import find_project, run_stage


@takes(VerifySettings)
def verify(given: Given, json: Json = False) -> None:
    """Check that a model directory is whole: all weights there, of the right shape, every number finite.

    Example: fishtune verify checkpoints/openaudio-s1-mini
    """
    project = None if "directory" in given else find_project()
    place = {"directory": project.base if project else ModelOptions().directory}
    settings = parse_flags(VerifySettings, **place | given)
    result = run_stage("verify", settings, json=json)
    if result is None or json:
        return
    out.print(
        f"{settings.directory} is sound: {format_count(len(result['files']), 'file')}, "
        f"{format_count(result['tensors'], 'tensor')}, "
        f"{result['parameters'] / 1e6:,.1f} M parameters."
    )
