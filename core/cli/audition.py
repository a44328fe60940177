"""`fishtune audition`."""

from __future__ import annotations

from ..config.settings import AuditionSettings
from ..config.strict import parse_flags
from ..judge.record import AuditionResult, audition_folder
from .console import out
from .options import Given, Json, takes
from .running import run_stage


@takes(AuditionSettings)
def audition(given: Given, json: Json = False) -> None:
    """Let a checkpoint speak without merging it, and find what is wrong: endless, silent, fading speech.

    The recordings and the findings go to results/NAME/audition; listen to them before you merge. Checkpoints
    whose speech is unsound are not recommended for merging.

    Example: fishtune audition results/my-voice/checkpoints/step_000000100.ckpt
    """
    settings = parse_flags(AuditionSettings, **given)
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
