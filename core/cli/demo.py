"""`fishtune demo` and `fishtune demo-checkpoint`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from ..config.settings import LoudnessNormSettings, SynthSettings, ValidateSettings
from ..pipeline.chain import RunSettings, place_of
from ..stages.registry import StageName
from ..terminal import shell_quoted
from ..units import format_duration
from .console import out
from .running import run_stage

_TEXT = "The boat left the harbour."


class Shape(StrEnum):
    """Shape of a random checkpoint."""

    TINY = "tiny"
    S1_MINI = "s1-mini"
    S2_TINY = "s2-tiny"
    S2_PRO = "s2-pro"


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demo's project goes.")] = Path("demo"),
) -> None:
    """Try everything in two minutes: a small project with twelve recordings and a tiny random model.

    Runs the whole chain and shows the command for each step. The model is random, so what it says at the
    end is noise; everything else is as with your own recordings and the real model.

    Example: fishtune demo
    """
    from ..demo.project import RECORDINGS, make_demo

    begun = monotonic()
    # Threads gain nothing on so small a model, and lose a lot where other programs use the cores too.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    project = make_demo(folder)
    place = place_of(project)
    raw, data, spoken = folder / RECORDINGS, folder / "data", folder / "hello.wav"
    out.print(f"The demo's project is in {folder}: two speakers, twelve recordings, a tiny random model.")
    _show(["validate", raw], "check the recordings before work is put into them")
    run_stage(StageName.VALIDATE, ValidateSettings(data=raw), place=place)
    _show(["loudness-norm", raw, data], "bring all recordings to one loudness, as copies")
    run_stage(StageName.LOUDNESS_NORM, LoudnessNormSettings(source=raw, target=data), place=place)
    _show(["run", folder], "check, extract, pack, train and merge: whatever is not up to date")
    run_stage(StageName.RUN, RunSettings(project=project.file), place=place)
    merged = folder / project.merged.relative_to(project.folder)
    synth: list[str | Path] = ["synth", "--checkpoint", merged, "--text", _TEXT, "--out", spoken]
    _show(synth, "speak with the result")
    settings = SynthSettings(checkpoint=merged, text=_TEXT, out=spoken, max_new_tokens=60, seed=1)
    run_stage(StageName.SYNTH, settings, place=place)
    out.print(f"\nDone in {format_duration(monotonic() - begun)}. In {folder} there are now:")
    out.print(f"  codes beside the recordings, and packed in {data / 'protos'}")
    out.print(f"  checkpoints and logs in {folder / 'results' / project.name}")
    out.print(f"  the merged model in {merged}, and {spoken} spoken by it (noise: its base is random)")
    out.print(f"\nLook around:            fishtune-tui {shell_quoted(folder)}")
    out.print("Your own recordings:    fishtune init my-voice --data RECORDINGS, then: fishtune run my-voice")


def _show(command: list[str | Path], why: str) -> None:
    out.print(f"\n$ {' '.join(map(shell_quoted, ['fishtune', *command]))}\n  {why}")


def demo_checkpoint(
    directory: Annotated[Path, typer.Argument(help="New directory of the checkpoint.")],
    shape: Annotated[
        Shape,
        typer.Option(
            metavar="NAME",
            help="tiny, s2-tiny: 3 MB, for tries; s1-mini (3.6 GB), s2-pro (11 GB): the published shapes, "
            "for benchmarks.",
        ),
    ] = Shape.TINY,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=999_999, help="Of the random weights.")] = 0,
) -> None:
    """Write a base checkpoint with random weights in the real format, for tests and benchmarks.

    Example: fishtune demo-checkpoint /tmp/s1-mini-random --shape s1-mini
    """
    from ..demo.checkpoint import write_checkpoint

    write_checkpoint(directory, shape=shape.value, seed=seed)
    out.print(f"Wrote random weights of shape {shape} to {directory}")
