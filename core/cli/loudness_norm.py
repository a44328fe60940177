"""`fishtune loudness-norm`."""

from __future__ import annotations

from ..config.settings import LoudnessNormSettings
from ..config.strict import parse_flags
from ..dataset.layout import list_root
from ..units import format_count
from .console import out, print_left_out
from .options import Given, Json, takes
from .running import run_stage


@takes(LoudnessNormSettings)
def loudness_norm(given: Given, json: Json = False) -> None:
    """Bring all recordings to one loudness (BS.1770), as copies in another folder.

    Names and file formats stay. An mp3 is encoded again at the best quality; if you still have wav or flac,
    start from those. Run again, it only makes what is new or changed.

    Example: fishtune loudness-norm data-raw data --clean
    """
    list_root(given["source"])
    settings = parse_flags(LoudnessNormSettings, **given)
    summary = run_stage("loudness-norm", settings, json=json)
    if summary is None or json:
        return
    failed = f", {len(summary['failed'])} failed" if summary["failed"] else ""
    current = summary["current"]
    print_left_out(summary["left_out"])
    out.print(
        f"Normalised {format_count(summary['written'], 'recording')}, {current} "
        f"{'was' if current == 1 else 'were'} up to date{failed}: "
        f"{summary['target']}"
    )
