"""`fishtune synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.settings import SynthSettings
from ..config.strict import parse_flags
from .console import out as output
from .running import find_project, run_stage


def synth(
    text: Annotated[str, typer.Option(help="What is to be said.")],
    out: Annotated[Path, typer.Option(help="The recording that is written; its ending names the format.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint directory: a base or a merged model.", show_default="the project's merged model"
        ),
    ] = None,
    ref_audio: Annotated[
        Path | None, typer.Option(help="A recording whose voice is to be used (3 to 15 s).")
    ] = None,
    ref_codes: Annotated[
        Path | None, typer.Option(help="The same as extracted codes (.npy), instead of --ref-audio.")
    ] = None,
    ref_text: Annotated[
        str, typer.Option(help="What is said in the reference.", show_default="the .lab file beside it")
    ] = "",
    codes_out: Annotated[Path | None, typer.Option(help="Also write the generated codes (.npy).")] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Frames at most; 21.5 frames are a second.")
    ] = 1024,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the most probable code; no drawing, no penalty.")
    ] = False,
    temperature: Annotated[
        float, typer.Option(min=0.01, help="Below 1: safer and flatter; above: livelier, riskier.")
    ] = 0.8,
    top_p: Annotated[
        float, typer.Option(min=0.001, max=1, help="Draw among the most probable codes up to this share.")
    ] = 0.8,
    repetition_penalty: Annotated[
        float, typer.Option(min=1, help="Above 1: makes recent codes less probable.")
    ] = 1.1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="The same seed gives the same recording.", show_default="random")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist, whoever wrote them.")
    ] = False,
    config_name: Annotated[str, typer.Option(help="Codec preset.")] = "modded_dac_vq",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Say a text: hear a base or a merged model at once.

    A fine-tuned model learns a way of speaking, not by itself a timbre: keep giving a reference clip of the
    speaker with --ref-audio.

    Example: fishtune synth --checkpoint checkpoints/my-voice-merged --text "Good morning." --ref-audio
    data/ANNA/0001.wav --out morning.wav
    """
    project = find_project() if checkpoint is None else None
    place = checkpoint or (project.merged if project else None)
    settings = parse_flags(
        SynthSettings,
        **({} if place is None else {"checkpoint": place}),
        text=text,
        out=out,
        ref_audio=ref_audio,
        ref_codes=ref_codes,
        ref_text=ref_text,
        codes_out=codes_out,
        max_new_tokens=max_new_tokens,
        greedy=greedy,
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        overwrite=overwrite,
        config_name=config_name,
        device=device,
    )
    summary = run_stage("synth", settings, json=json)
    if summary is None or json:
        return
    repeat = "" if summary["seed"] is None else f", seed {summary['seed']}"
    output.print(
        f"Wrote {summary['out']}: {summary['seconds']:.1f} s ({summary['frames']} frames, "
        f"{summary['frames_per_second']:.1f} a second on {summary['device']}{repeat})"
    )
    if summary["codes_out"]:
        output.print(f"Codes: {summary['codes_out']}")
