"""`fishtune pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..dataset.layout import TEXT_EXTENSION, list_root
from ..settings import PackOptions, PackSettings
from ..units import format_bytes
from ..validation import parse_flags
from .console import out
from .running import run_stage

_SHOWN = 20


def pack(
    input: Annotated[  # noqa: A002 - the documented flag's name
        Path, typer.Option("--input", help="The data set, with codes beside the recordings.")
    ] = Path("data"),
    output: Annotated[
        Path | None, typer.Option(help="Folder of the shards; replaced whole.", show_default="INPUT/protos")
    ] = None,
    text_extension: Annotated[str, typer.Option(help="Extension of the transcripts.")] = TEXT_EXTENSION,
    num_workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one a core.")] = 0,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Begin a new shard past this many bytes.")
    ] = PackOptions().shard_size,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave out a clip, as SPEAKER/NAME; may be repeated.")
    ] = None,
    allow_fewer: Annotated[
        bool,
        typer.Option("--allow-fewer", help="Replace shards that hold many more clips than the new ones."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Pack codes and transcripts into shards for training. The same input gives the same bytes.

    A clip that cannot be packed is listed with the reason; the others go in. The old shards stay in
    place until the new ones are complete.

    Example: fishtune pack --input data --output data/protos --text-extension .lab --num-workers 16
    """
    list_root(input)  # before anything is made beside it
    settings = parse_flags(
        PackSettings,
        input=input,
        output=output or input / "protos",
        text_extension=text_extension,
        num_workers=num_workers,
        shard_size=shard_size,
        exclude=exclude or [],
        allow_fewer=allow_fewer,
    )
    summary = run_stage("pack", settings, json=json)
    if summary is None or json:
        return
    dropped = summary["dropped"]
    for loss in dropped[:_SHOWN]:
        out.print(f"left out: {loss['clip']}: {loss['reason']}")
    if len(dropped) > _SHOWN:
        out.print(f"… and {len(dropped) - _SHOWN} more; all of them with: fishtune pack … --json")
    shards = f"{summary['shards']} shard{'s' if summary['shards'] > 1 else ''}"
    out.print(
        f"Packed {summary['sentences']} of {summary['clips']} clips into {shards} "
        f"({format_bytes(summary['bytes'])}) in {summary['output']}"
    )
