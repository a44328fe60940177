"""`fishtune synth`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from ..config.settings import SynthSettings
from ..config.strict import parse_flags
from ..errors import UsageError
from ..units import format_count
from .console import SafeConsole, err, out
from .options import Given, Json, takes
from .running import detached, find_project, run_stage

_STANDARD_OUTPUT = Path("-")


@takes(SynthSettings)
def synth(given: Given, json: Json = False) -> None:
    """Say a text: hear a base or a merged model at once.

    A fine-tuned model learns a way of speaking, not by itself a timbre: keep giving a reference clip of the
    speaker with --ref-audio.

    Example: fishtune synth --checkpoint checkpoints/my-voice-merged --text "Good morning." --ref-audio
    data/ANNA/0001.wav --out morning.wav
    """
    if average := given.get("average"):
        given.setdefault("checkpoint", average[0])
    project = None if "checkpoint" in given else find_project()
    place = {"checkpoint": project.merged} if project else {}
    settings = parse_flags(SynthSettings, **place | given)
    if settings.out == _STANDARD_OUTPUT:
        _to_standard_output(settings, json)
        return
    summary = run_stage("synth", settings, json=json)
    if summary is not None and not json:
        _say(summary, str(settings.out), out)


def _to_standard_output(settings: SynthSettings, json: bool) -> None:
    """Speak to a player at the other end of a pipe; everything else is said on standard error.

    Raises:
        UsageError: nothing there could take it.
    """
    if json or detached.get() or sys.stdout.isatty():
        raise UsageError(
            "--out - writes the recording to standard output, which is not free for it here.",
            "Send it to a player: ssh BOX fishtune synth --text … --out - | ffplay -nodisp -autoexit -",
        )
    with tempfile.TemporaryDirectory(prefix="fishtune-") as folder:
        file = Path(folder) / "speech.wav"
        summary = run_stage("synth", settings.model_copy(update={"out": file}))
        if summary is not None:
            sys.stdout.buffer.write(file.read_bytes())
            sys.stdout.buffer.flush()
            _say(summary, "the recording", err)


def _say(summary: dict[str, Any], what: str, console: SafeConsole) -> None:
    repeat = "" if summary["seed"] is None else f", seed {summary['seed']}"
    console.print(
        f"Wrote {what}: {summary['seconds']:.1f} s ({format_count(summary['frames'], 'frame')}, "
        f"{summary['frames_per_second']:.1f} per second on {summary['device']}{repeat})"
    )
    if summary["codes_out"]:
        console.print(f"Codes: {summary['codes_out']}")
