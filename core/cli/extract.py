"""`fishtune extract`."""

from __future__ import annotations

from ..config.project import DatasetOptions, Project
from ..config.settings import CODEC_FILE, ExtractOptions, ExtractSettings, ModelOptions
from ..units import format_count, format_duration
from .console import out, print_left_out
from .options import Given, Json, takes
from .running import project_settings, run_stage

_ELSEWHERE = {"data": DatasetOptions().path, "checkpoint_path": ModelOptions().directory / CODEC_FILE}


@takes(
    ExtractSettings,
    of_project={*ExtractOptions.model_fields, "data"},
    elsewhere=_ELSEWHERE,
)
def extract(given: Given, json: Json = False) -> None:
    """Turn recordings into semantic tokens: NAME.npy beside every NAME.mp3, .wav or .flac.

    What is done and valid is skipped, so the same command continues an interrupted run. A clip that
    cannot be used is listed with the reason; the exit code is 0 as long as there are codes of any clip.
    On a GPU, larger batches and more workers are faster until its memory is full; a batch that does not
    fit is halved. Several GPUs: torchrun --nproc-per-node 2 --no-python fishtune extract …

    Example: fishtune extract data --num-workers 1 --batch-size 16 --config-name modded_dac_vq
    --checkpoint-path checkpoints/openaudio-s1-mini/codec.pth
    """
    settings = project_settings(ExtractSettings, Project.extract_settings, _ELSEWHERE, "data", **given)
    summary = run_stage("extract", settings, json=json)
    if summary is None or json:
        return
    for failed in summary["failed"]:
        out.print(f"failed: {failed['clip']}: {failed['message']} {failed['hint']}".rstrip())
    print_left_out(summary["left_out"])
    done, encoded, clips = summary["already_done"], summary["encoded"], summary["clips"]
    if encoded:
        out.print(
            f"Encoded {format_count(encoded, 'clip')}, "
            f"{format_duration(summary['audio_seconds'])} of audio, in "
            f"{format_duration(summary['elapsed'])} on {summary['device']}, "
            f"{summary['speed']:.1f} × real time"
        )
    elif not summary["failed"]:
        out.print("Nothing was left to encode.")
    out.print(f"Codes of {done + encoded:,} of {format_count(clips, 'clip')} are in {settings.data}")
