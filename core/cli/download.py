"""`fishtune download`."""

from __future__ import annotations

from pathlib import Path

from ..config.settings import MODELS_FOLDER, DownloadSettings, ModelOptions
from ..config.strict import parse_flags
from .console import out
from .options import Given, Json, takes
from .running import find_project, run_stage


@takes(
    DownloadSettings,
    of_project=["name", "local_dir"],
    elsewhere={"name": ModelOptions().name},
)
def download(given: Given, json: Json = False) -> None:
    """Download a base model: only the needed files, each checked; run again to continue a broken download.

    The S1-mini repository is gated: accept its licence (CC BY-NC-SA 4.0) on its page with your account,
    make a read token, and give it with `hf auth login` or the variable HF_TOKEN.

    Example: fishtune download openaudio-s1-mini --local-dir checkpoints/openaudio-s1-mini
    """
    project = find_project()
    if project and given.get("name") in (None, project.model.name):
        chosen = project.download_settings().model_dump()
    else:
        name = given.get("name", ModelOptions().name)
        chosen = {"name": name, "local_dir": Path(MODELS_FOLDER) / name.rsplit("/", 1)[-1]}
    settings = parse_flags(DownloadSettings, **chosen | given)
    summary = run_stage("download", settings, json=json)
    if summary is None or json:
        return
    what = (
        f"Downloaded {', '.join(summary['downloaded'])}" if summary["downloaded"] else "Everything is there"
    )
    out.print(f"{what}: {summary['repository']} at {summary['revision'][:12]} in {summary['directory']}")
