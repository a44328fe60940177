"""`fishtune download`."""

from __future__ import annotations

from ..config.settings import DownloadSettings, ModelOptions
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

    openaudio-s1-mini has 3.6 GB, s2-pro 11 GB. A gated repository wants its licence accepted on its page
    with your account, and a read token: give it with `hf auth login` or the variable HF_TOKEN. The licence of
    S1-mini is CC BY-NC-SA 4.0, that of S2-Pro the Fish Audio Research License: neither allows commercial use.

    Example: fishtune download openaudio-s1-mini --local-dir checkpoints/openaudio-s1-mini
    """
    project = find_project()
    if project and given.get("name") in (None, project.model.name):
        chosen = project.download_settings().model_dump()
    else:
        name = given.get("name", ModelOptions().name)
        # Unchecked: what is wrong with the name, the settings say below.
        chosen = {"name": name, "local_dir": ModelOptions.model_construct(name=name).directory}
    settings = parse_flags(DownloadSettings, **chosen | given)
    summary = run_stage("download", settings, json=json)
    if summary is None or json:
        return
    what = (
        f"Downloaded {', '.join(summary['downloaded'])}" if summary["downloaded"] else "Everything is there"
    )
    out.print(f"{what}: {summary['repository']} at {summary['revision'][:12]} in {summary['directory']}")
