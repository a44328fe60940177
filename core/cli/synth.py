"""`fishtune synth`."""

from __future__ import annotations

from ..config.settings import SynthSettings
from ..config.strict import parse_flags
from .console import out
from .options import Given, Json, takes
from .running import find_project, run_stage


@takes(SynthSettings)
def synth(given: Given, json: Json = False) -> None:
    """Say a text: hear a base or a merged model at once.

    A fine-tuned model learns a way of speaking, not by itself a timbre: keep giving a reference clip of the
    speaker with --ref-audio.

    Example: fishtune synth --checkpoint checkpoints/my-voice-merged --text "Good morning." --ref-audio
    data/ANNA/0001.wav --out morning.wav
    """
    project = None if "checkpoint" in given else find_project()
    place = {"checkpoint": project.merged} if project else {}
    settings = parse_flags(SynthSettings, **place | given)
    summary = run_stage("synth", settings, json=json)
    if summary is None or json:
        return
    repeat = "" if summary["seed"] is None else f", seed {summary['seed']}"
    out.print(
        f"Wrote {summary['out']}: {summary['seconds']:.1f} s ({summary['frames']} frames, "
        f"{summary['frames_per_second']:.1f} a second on {summary['device']}{repeat})"
    )
    if summary["codes_out"]:
        out.print(f"Codes: {summary['codes_out']}")
