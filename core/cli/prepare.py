"""`fishtune prepare`."""

from __future__ import annotations

from ..config.settings import PrepareSettings
from ..messages import plural
from ..units import format_count, format_duration
from .console import out
from .options import Given, Json, takes
from .running import project_settings, run_stage


@takes(PrepareSettings, of_project=["out"])
def prepare(given: Given, json: Json = False) -> None:
    """Make a data set of raw recordings: cut in pauses, transcribed, one folder per speaker.

    RAW is only read; recordings may be of any length and format. A recording without words is transcribed
    by recognition. Subtitles (.srt, .vtt, Whisper's .json, .TextGrid), a text or a table of transcripts
    beside it are used instead. OUT may be there already: what is new in RAW is added.
    Needs the extra "prepare" of fishtune where something is cut or transcribed.

    --edits FILE takes in corrections of clips: fishtune prepare data --edits edits.json

    Example: fishtune prepare recordings data --language en
    """
    if "edits" in given and "raw" in given and "out" not in given:
        given["out"] = given.pop("raw")  # the only folder that edits are about
    settings = project_settings(
        PrepareSettings, lambda project: PrepareSettings(out=project.data), {}, "out", **given
    )
    summary = run_stage("prepare", settings, json=json)
    if summary is None or json:
        return
    if summary["edited"]:
        out.print(f"{format_count(summary['edited'], 'edit')} taken in")
    if not summary["prepared"] and not summary["current"]:
        return
    made, read = (format_duration(summary[name]) for name in ("seconds", "recorded_seconds"))
    clips = format_count(summary["clips"], "clip")
    out.print(f"{clips}, {made}, from {format_count(summary['prepared'], 'recording')} ({read})")
    if current := summary["current"]:
        out.print(plural(current, "1 recording was done before.", "{number:,} recordings were done before."))
    if failed := len(summary["failed"]):
        told = plural(failed, "1 recording cannot be used", "{number:,} recordings cannot be used")
        out.print(f"{told}; see above.")
    out.print(f"Data set: {summary['out']}")
