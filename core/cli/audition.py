"""`fishtune audition`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.settings import AuditionSettings
from ..config.strict import parse_flags
from ..judge.record import AuditionResult, audition_folder
from .console import out
from .running import run_stage


def audition(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint (step_….ckpt), an adapter folder, or a model directory.")
    ],
    base_weight: Annotated[
        Path | None,
        typer.Option(help="Base of the checkpoint.", show_default="the one it was trained on"),
    ] = None,
    protos: Annotated[
        Path | None,
        typer.Option(
            help="Packed data set that gives the voice and the speaking rate.",
            show_default="the one it was trained on",
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="What it says; may be repeated.", show_default="three sentences")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes checkpoints comparable.")] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace recordings that are named like its own, too.")
    ] = False,
    config_name: Annotated[str, typer.Option(help="Codec preset.")] = "modded_dac_vq",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Let a checkpoint speak without merging it, and find what is wrong: endless, silent, fading speech.

    The recordings and the findings go to results/NAME/audition; listen to them before you merge. Checkpoints
    whose speech is unsound are not recommended for merging.

    Example: fishtune audition results/my-voice/checkpoints/step_000000100.ckpt
    """
    settings = parse_flags(
        AuditionSettings,
        checkpoint=checkpoint,
        base_weight=base_weight,
        protos=protos,
        texts=text or [],
        seed=seed,
        overwrite=overwrite,
        config_name=config_name,
        device=device,
    )
    summary = run_stage("audition", settings, json=json)
    if summary is None or json:
        return
    result = AuditionResult.model_validate(summary)
    folder = audition_folder(result.checkpoint)
    voice = f", in the voice of {result.reference}" if result.reference else ", without a reference"
    out.print(f"{'Sound' if result.healthy else 'Unsound'}: {result.summary}{voice}")
    for spoken in result.texts:
        out.print(f"\n{spoken.text}")
        out.print(f"  {folder / spoken.audio if spoken.audio else 'no recording'}  {spoken.seconds:.1f} s")
        for finding in spoken.findings:
            out.print(f"  {finding.message}")
