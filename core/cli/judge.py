"""`fishtune judge`."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from ..config.settings import JudgeSettings
from ..config.strict import parse_flags
from .console import out
from .options import Given, Json, takes
from .running import run_stage


@takes(JudgeSettings)
def judge(given: Given, json: Json = False) -> None:
    """Listen to recordings and find what is wrong: words, voice, pace, pitch, silence, noise.

    PATHS are recordings, or folders of them; what each should say stands in NAME.lab beside it. Recordings of
    one folder are held against one another, or all against --reference. Words, voice and pitch need the extra
    "judge" of fishtune.

    Example: fishtune judge results/my-voice/audition --reference data/my-voice/0001.wav --language en
    """
    settings = parse_flags(JudgeSettings, **given)
    summary = run_stage("judge", settings, json=json)
    if summary is None or json:
        return
    for clip in summary["clips"]:
        out.print(_line(clip))
        for finding in clip["findings"]:
            out.print(f"  {finding['message']}")
    right = sum(not clip["findings"] for clip in summary["clips"])
    out.print(f"{right} of {len(summary['clips'])} sound right")
    for sentence in summary["not_judged"]:
        out.print(sentence)


def _line(clip: dict[str, Any]) -> Text:
    parts = [f"{clip['seconds']:.1f} s"]
    if clip["wer"] is not None:
        parts.append(f"WER {clip['wer']:.2f}")
    if clip["similarity"] is not None:
        parts.append(f"voice {clip['similarity']:.2f}")
    if clip["rate"] is not None:
        parts.append(f"{clip['rate']:.1f} letters/s")
    if clip["pitch"] is not None:
        parts.append(f"{clip['pitch']['median']:.0f} Hz")
    line = Text(
        "wrong  " if clip["findings"] else "right  ", style="bold red" if clip["findings"] else "green"
    )
    return line.append(f"{clip['file']}  {', '.join(parts)}", style="not bold default")
