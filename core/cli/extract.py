"""`fishtune extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.project import CODEC_FILE, Project
from ..config.settings import ExtractOptions, ExtractSettings, ModelOptions
from ..units import format_duration
from .console import out, print_left_out
from .running import project_settings, run_stage

_PROJECT = "the project's, or "
_DEFAULTS = ExtractOptions()


def extract(
    data: Annotated[
        Path | None,
        typer.Argument(help="The data set: one folder per speaker.", show_default=f"{_PROJECT}data"),
    ] = None,
    checkpoint_path: Annotated[
        Path | None,
        typer.Option(
            help="The codec's weights; else those of the project's model.",
            show_default="checkpoints/openaudio-s1-mini/codec.pth",
        ),
    ] = None,
    config_name: Annotated[
        str | None,
        typer.Option(
            help="Codec preset, used where no codec_config.json lies beside the weights.",
            show_default=f"{_PROJECT}{_DEFAULTS.config_name}",
        ),
    ] = None,
    num_workers: Annotated[
        int | None,
        typer.Option(
            help="Threads that decode audio while the codec computes.",
            show_default=f"{_PROJECT}{_DEFAULTS.num_workers}",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Maximum clips per batch.", show_default=f"{_PROJECT}{_DEFAULTS.batch_size}"),
    ] = None,
    batch_seconds: Annotated[
        float | None,
        typer.Option(
            help="Maximum seconds of audio per batch, padding included.",
            show_default="15 on a CPU, else no limit",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or cuda:N.", show_default=f"{_PROJECT}{_DEFAULTS.device}"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also redo clips whose codes are there and valid.")
    ] = False,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave out a clip, as SPEAKER/NAME; may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Turn recordings into semantic tokens: NAME.npy beside every NAME.mp3, .wav or .flac.

    What is done and valid is skipped, so the same command continues an interrupted run. A clip that
    cannot be used is listed with the reason; the exit code is 0 as long as there are codes of any clip.
    On a GPU, larger batches and more workers are faster until its memory is full; a batch that does not
    fit is halved. Several GPUs: torchrun --nproc-per-node 2 --no-python fishtune extract …

    Example: fishtune extract data --num-workers 1 --batch-size 16 --config-name modded_dac_vq
    --checkpoint-path checkpoints/openaudio-s1-mini/codec.pth
    """
    settings = project_settings(
        ExtractSettings,
        Project.extract_settings,
        {"data": Path("data"), "checkpoint_path": ModelOptions().path / CODEC_FILE},
        "data",
        data=data,
        checkpoint_path=checkpoint_path,
        config_name=config_name,
        num_workers=num_workers,
        batch_size=batch_size,
        batch_seconds=batch_seconds,
        device=device,
        overwrite=overwrite or None,
        exclude=exclude,
    )
    summary = run_stage("extract", settings, json=json)
    if summary is None or json:
        return
    for failed in summary["failed"]:
        out.print(f"failed: {failed['clip']}: {failed['message']} {failed['hint']}".rstrip())
    print_left_out(summary["left_out"])
    done, encoded, clips = summary["already_done"], summary["encoded"], summary["clips"]
    if encoded:
        out.print(
            f"Encoded {encoded} clip{'s' if encoded > 1 else ''}, "
            f"{format_duration(summary['audio_seconds'])} of audio, in "
            f"{format_duration(summary['elapsed'])} on {summary['device']}, "
            f"{summary['speed']:.1f} × real time"
        )
    out.print(f"Codes of {done + encoded} of {clips} clips are in {settings.data}")
