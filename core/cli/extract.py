"""`fishtune extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..settings import ExtractOptions, ExtractSettings
from ..units import format_duration
from ..validation import parse_flags
from .console import out, print_left_out
from .running import run_stage

_DEFAULTS = ExtractOptions()


def extract(
    data: Annotated[Path, typer.Argument(help="The data set: one folder a speaker.")] = Path("data"),
    checkpoint_path: Annotated[Path, typer.Option(help="The codec's weights, codec.pth.")] = Path(
        "checkpoints/openaudio-s1-mini/codec.pth"
    ),
    config_name: Annotated[
        str, typer.Option(help="Codec preset, used where no codec_config.json lies beside the weights.")
    ] = _DEFAULTS.config_name,
    num_workers: Annotated[
        int, typer.Option(help="Threads that decode audio while the codec computes.")
    ] = _DEFAULTS.num_workers,
    batch_size: Annotated[int, typer.Option(help="Clips a batch, at most.")] = _DEFAULTS.batch_size,
    batch_seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds of audio a batch, padding included, at most.",
            show_default="15 on a CPU, else no limit",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = _DEFAULTS.device,
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
    settings = parse_flags(
        ExtractSettings,
        data=data,
        checkpoint_path=checkpoint_path,
        config_name=config_name,
        num_workers=num_workers,
        batch_size=batch_size,
        batch_seconds=batch_seconds,
        device=device,
        overwrite=overwrite,
        exclude=exclude or [],
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
    out.print(f"Codes of {done + encoded} of {clips} clips are in {data}")
