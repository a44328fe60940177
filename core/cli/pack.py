"""`fishtune pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.project import PROTOS, Project
from ..config.settings import PackOptions, PackSettings
from ..dataset.layout import TEXT_EXTENSION, list_root
from ..shards.manifest import check_place
from ..units import format_bytes
from .console import out, print_left_out
from .running import project_settings, run_stage

_PROJECT = "the project's, or "
_SHOWN = 20


def pack(
    input: Annotated[  # noqa: A002 - the documented flag's name
        Path | None,
        typer.Option(
            "--input", help="The data set, with codes beside the recordings.", show_default=f"{_PROJECT}data"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder of the shards; replaced whole.", show_default=f"{_PROJECT}INPUT/protos"),
    ] = None,
    text_extension: Annotated[
        str | None,
        typer.Option(help="Extension of the transcripts.", show_default=f"{_PROJECT}{TEXT_EXTENSION}"),
    ] = None,
    num_workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes; 0 = one per core.", show_default=f"{_PROJECT}0"),
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Begin a new shard past this many bytes.",
            show_default=f"{_PROJECT}{PackOptions().shard_size}",
        ),
    ] = None,
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
    settings = project_settings(
        PackSettings,
        Project.pack_settings,
        {"input": Path("data"), "output": (input or Path("data")) / PROTOS},
        "input",
        input=input,
        output=output,
        text_extension=text_extension,
        num_workers=num_workers,
        shard_size=shard_size,
        exclude=exclude,
        allow_fewer=allow_fewer or None,
    )
    list_root(settings.input)  # before anything is made beside it
    check_place(settings)
    summary = run_stage("pack", settings, json=json)
    if summary is None or json:
        return
    dropped = summary["dropped"]
    for loss in dropped[:_SHOWN]:
        out.print(f"left out: {loss['clip']}: {loss['reason']}")
    if len(dropped) > _SHOWN:
        out.print(f"… and {len(dropped) - _SHOWN} more; all of them with: fishtune pack … --json")
    print_left_out(summary["left_out"])
    shards = f"{summary['shards']} shard{'s' if summary['shards'] > 1 else ''}"
    out.print(
        f"Packed {summary['sentences']} of {summary['clips']} clips into {shards} "
        f"({format_bytes(summary['bytes'])}) in {summary['output']}"
    )
