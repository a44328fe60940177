"""`fishtune download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.settings import DownloadSettings, ModelOptions
from ..config.strict import parse_flags
from .console import out
from .running import find_project, run_stage


def download(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A model preset (openaudio-s1-mini) or a hub repository, owner/name.",
            show_default=f"the project's, or {ModelOptions().name}",
        ),
    ] = None,
    local_dir: Annotated[
        Path | None,
        typer.Option(help="Where the files go.", show_default="the project's, or checkpoints/NAME"),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit.", show_default="newest")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of a mirror of the hub.", show_default="HF_ENDPOINT")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Download a base model: only the needed files, each checked; run again to continue a broken download.

    The S1-mini repository is gated: accept its licence (CC BY-NC-SA 4.0) on its page with your account,
    make a read token, and give it with `hf auth login` or the variable HF_TOKEN.

    Example: fishtune download openaudio-s1-mini --local-dir checkpoints/openaudio-s1-mini
    """
    project = find_project()
    chosen = project.download_settings() if project and name in (None, project.model.name) else None
    name = name or (chosen.name if chosen else ModelOptions().name)
    place = chosen.local_dir if chosen else Path("checkpoints") / name.rsplit("/", 1)[-1]
    settings = parse_flags(
        DownloadSettings,
        name=name,
        local_dir=local_dir or place,
        revision=revision or (chosen.revision if chosen else None),
        endpoint=endpoint,
    )
    summary = run_stage("download", settings, json=json)
    if summary is None or json:
        return
    what = (
        f"Downloaded {', '.join(summary['downloaded'])}" if summary["downloaded"] else "Everything is there"
    )
    out.print(f"{what}: {summary['repository']} at {summary['revision'][:12]} in {summary['directory']}")
