"""`fishtune loudness-norm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.settings import LoudnessNormSettings
from ..config.strict import parse_flags
from ..dataset.layout import TEXT_EXTENSION, list_root
from .console import out, print_left_out
from .running import run_stage


def loudness_norm(
    source: Annotated[Path, typer.Argument(help="Folder of recordings, one folder a speaker; only read.")],
    target: Annotated[Path, typer.Argument(help="Folder for the normalised copies and the transcripts.")],
    text_extension: Annotated[str, typer.Option(help="Extension of the transcripts.")] = TEXT_EXTENSION,
    clean: Annotated[
        bool,
        typer.Option(
            "--clean", help="Empty TARGET first; refused if it holds anything else than this command wrote."
        ),
    ] = False,
    loudness: Annotated[float, typer.Option(min=-70, max=-5, help="Target loudness, LUFS.")] = -23.0,
    peak: Annotated[float, typer.Option(max=0, help="Highest peak allowed, dBFS.")] = -1.0,
    num_workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one a core.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Bring all recordings to one loudness (BS.1770), as copies in another folder.

    Names and file formats stay. An mp3 is encoded again at the best quality; if you still have wav or flac,
    start from those. Run again, it only makes what is new or changed.

    Example: fishtune loudness-norm data-raw data --clean
    """
    list_root(source)
    settings = parse_flags(
        LoudnessNormSettings,
        source=source,
        target=target,
        text_extension=text_extension,
        loudness=loudness,
        peak=peak,
        clean=clean,
        num_workers=num_workers,
    )
    summary = run_stage("loudness-norm", settings, json=json)
    if summary is None or json:
        return
    failed = f", {len(summary['failed'])} failed" if summary["failed"] else ""
    print_left_out(summary["left_out"])
    out.print(
        f"Normalised {summary['written']} recordings, {summary['current']} were up to date{failed}: "
        f"{summary['target']}"
    )
