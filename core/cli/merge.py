"""`fishtune merge`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..config.project import Project
from ..config.settings import MergeSettings
from ..pipeline.chain import with_checkpoint
from ..terminal import shell_quoted
from .console import out
from .running import project_settings, run_stage


def merge(
    base_weight: Annotated[
        Path | None,
        typer.Option(help="Checkpoint directory of the base model.", show_default="the project's"),
    ] = None,
    lora_weight: Annotated[
        Path | None,
        typer.Option(
            help="A checkpoint (step_….ckpt), ours or of the reference's format, or a PEFT folder.",
            show_default="the project's, or the recommended one",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The directory that is made.", show_default="the project's"),
    ] = None,
    lora_config: Annotated[
        str | None, typer.Option(help="Preset of the training; the reference's format needs it for alpha.")
    ] = None,
    lora_alpha: Annotated[float | None, typer.Option(help="Alpha as a number, instead of a preset.")] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Hard-link files that do not change (saves 1.9 GB).")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output that fishtune merge wrote.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Merge a checkpoint into its base: a directory that any fish-speech S1 installation loads.

    The merged weights are compared with base + adapter before they get their name; the numbers, hashes and
    versions go into OUTPUT.fishtune.json beside the directory.

    Example: fishtune merge --base-weight checkpoints/openaudio-s1-mini --lora-weight
    results/my-voice/checkpoints/step_000000100.ckpt --output checkpoints/my-voice-merged
    """
    settings = project_settings(
        MergeSettings,
        partial(_of_project, lora_weight),
        {},
        base_weight=base_weight,
        lora_weight=lora_weight,
        output=output,
        lora_config=lora_config,
        lora_alpha=lora_alpha,
        link=link or None,
        overwrite=overwrite or None,
    )
    summary = run_stage("merge", settings, json=json)
    if summary is None or json:
        return
    checked = summary["verification"]
    out.print(f"Merged {summary['changed_tensors']} tensors into {summary['output']}")
    out.print(
        f"Checked: as stored, logits differ from base + adapter by "
        f"{checked['merged']['relative_difference']:.1e}; the adapter moves them by "
        f"{checked['effect']['relative_difference']:.1e}, and {checked['captured']:.0%} of that is stored."
    )
    out.print(f"Record: {summary['record']}")
    out.print(
        f'Hear it:  fishtune synth --checkpoint {shell_quoted(summary["output"])} --text "…" --out speech.wav'
    )


def _of_project(lora_weight: Path | None, project: Project) -> MergeSettings:
    """Return how the project merges: the checkpoint that was given, else the chosen or recommended one."""
    if lora_weight is not None:
        project = project.model_copy(deep=True)
        project.merge.checkpoint = str(lora_weight.absolute())
    return with_checkpoint(project).merge_settings()
