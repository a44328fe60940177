"""`fishtune merge`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..config.project import Project
from ..config.settings import MergeSettings
from ..pipeline.chain import with_checkpoint
from ..terminal import shell_quoted
from ..units import format_count
from .console import out
from .options import Given, Json, takes
from .running import project_settings, run_stage


@takes(MergeSettings, of_project=["base_weight", "lora_weight", "output"])
def merge(given: Given, json: Json = False) -> None:
    """Merge a checkpoint into its base: a directory that takes the base's place wherever that is loaded.

    The merged weights are compared with base + adapter before they get their name; the numbers, hashes and
    versions go into OUTPUT.fishtune.json beside the directory.

    Example: fishtune merge --base-weight checkpoints/openaudio-s1-mini --lora-weight
    results/my-voice/checkpoints/step_000000100.ckpt --output checkpoints/my-voice-merged
    """
    of_project = partial(_of_project, given.get("lora_weight"), given.get("average", []))
    settings = project_settings(MergeSettings, of_project, {}, **given)
    summary = run_stage("merge", settings, json=json)
    if summary is None or json:
        return
    checked = summary["verification"]
    out.print(f"Merged {format_count(summary['changed_tensors'], 'tensor')} into {summary['output']}")
    out.print(
        f"Checked: as stored, logits differ from base + adapter by "
        f"{checked['merged']['relative_difference']:.1e}; the adapter moves them by "
        f"{checked['effect']['relative_difference']:.1e}, and {checked['captured']:.0%} of that is stored."
    )
    if checked["quantised_told"]:
        out.print(checked["quantised_told"])
    out.print(f"Record: {summary['record']}")
    out.print(
        f'Hear it:  fishtune synth --checkpoint {shell_quoted(summary["output"])} --text "…" --out speech.wav'
    )


def _of_project(lora_weight: Path | None, average: list[str], project: Project) -> MergeSettings:
    """Return how the project merges: what was given, else the chosen or recommended checkpoint."""
    named = lora_weight or next(map(Path, average), None)
    if named is not None:
        project = project.model_copy(deep=True)
        project.merge.checkpoint = str(named.absolute())
    settings = with_checkpoint(project).merge_settings()
    return settings.model_copy(update={"lora_weight": None}) if average and not lora_weight else settings
