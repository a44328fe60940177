"""Making the proofreading page of a data set: `DATA/proofread.html`.

The page holds clips as they are now, and makes the edits that `fishtune prepare --edits` takes in. What an
edit does is said in `dataset/proofreading.py`; `edits.js` says the same to the browser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel

from ...dataset.layout import scan
from ...dataset.places import Sounding
from ...dataset.prepared import DOUBTFUL, PreparedWord, read_prepared
from ...dataset.proofreading import ProofClip, least_sure_first
from ...errors import DataError
from ...events import Reporter
from ...messages import Message
from ...stages.prepare.places import sounding_now, words_of_record
from ...stages.prepare.realise import clips_now
from ...terminal import json_text
from ...units import format_bytes
from ..html import check_output
from ..sound.clips import BYTES_PER_SECOND, Clip, make_clips
from ..sound.page import MADE_BY, write_page

PROOFREAD_FILE = "proofread.html"
_SCRIPTS = ("edits.js", "places.js", "tape.js", "work.js", "rows.js", "changing.js", "main.js")
_LARGEST = 200_000_000
"""Bytes, about 5 hours of speech: more than that browsers open slowly, or not at all."""


class Row(BaseModel):
    """A clip of the data set, in the data set's order."""

    clip: str
    """`SPEAKER/NAME`."""
    sound: int | None = None
    """Place in `ProofreadingPage.clips`; None where the page does not show the clip."""
    seconds: float = 0.0
    text: str = ""
    language: str = ""
    """Of the text, for the browser; empty = not known."""
    score: float | None = None
    words: tuple[PreparedWord, ...] = ()
    sounding: Sounding | None = None
    """Where its words and pauses are; None where the page does not show the clip."""


class ProofreadingPage(BaseModel):
    """All of the page."""

    id: str
    """Of clips and texts: edits are kept under it, as they are of these clips as they are now."""
    title: str
    doubtful: float = DOUBTFUL
    rows: list[Row]
    clips: list[Clip]

    @property
    def shown(self) -> int:
        """How many clips can be heard and corrected."""
        return sum(row.sound is not None for row in self.rows)


def write_proofreading_page(
    data: Path, output: Path, least_sure: int | None, reporter: Reporter
) -> ProofreadingPage:
    """Write the page of a data set, prepared or not, and return what it shows.

    Args:
        least_sure: how many clips it shows, those whose words are least sure; None = all.

    Raises:
        DataError: no clip has both a recording that can be read and a transcript.
        UsageError: something that is not such a page would be replaced.
        StorageError: the page cannot be written.
        StopRequested: asked to stop; nothing was written.
    """
    check_output(output, MADE_BY)
    clips = clips_now(data)
    paths = {clip.key: clip.audio[0] for clip in scan(data).clips if clip.audio}
    chosen = _chosen([clip for clip in clips if clip.clip in paths], least_sure, reporter)
    sounds = make_clips(
        [paths[clip.clip] for clip in chosen], reporter, None, Message("Look at it: fishtune validate")
    )
    if not sounds:
        raise DataError(
            "{folder} has no clip with a transcript that can be heard.",
            "Look at the data set: fishtune validate {folder}",
            folder=data,
        )
    places = {path: number for number, (path, _) in enumerate(sounds)}
    languages = _languages(data)
    rows = [_row(clip, places.get(paths.get(clip.clip, data)), languages) for clip in clips]
    heard = words_of_record(data)
    for row, clip in zip(rows, clips, strict=True):
        if row.sound is not None:
            row.sounding = _sounding(data, clip, heard)
    page = ProofreadingPage(id=_id_of(clips), title=data.name, rows=rows, clips=[clip for _, clip in sounds])
    write_page(output, files(__package__ or ""), _SCRIPTS, page.model_dump(mode="json"), page.title)
    return page


def _chosen(clips: Sequence[ProofClip], least_sure: int | None, reporter: Reporter) -> list[ProofClip]:
    """Return the clips that the page shows, in their order; of too many, those that are least sure."""
    wanted = least_sure_first(clips)[:least_sure]
    chosen: set[str] = set()
    left = _LARGEST / BYTES_PER_SECOND
    for clip in wanted:
        left -= clip.seconds
        if left < 0:
            break
        chosen.add(clip.clip)
    if len(chosen) < len(wanted):
        size = format_bytes(round(sum(clip.seconds for clip in wanted) * BYTES_PER_SECOND))
        reporter.warn(
            "The page shows {shown:,} of {total:,} clips, those whose words are least sure: all of them "
            "would make {size}.",
            "Correct these, then make the page again.",
            shown=len(chosen),
            total=len(wanted),
            size=size,
        )
    return [clip for clip in clips if clip.clip in chosen]


def _row(clip: ProofClip, sound: int | None, languages: dict[str, str]) -> Row:
    if sound is None:
        return Row(clip=clip.clip)
    return Row(
        clip=clip.clip,
        sound=sound,
        seconds=clip.seconds,
        text=clip.text,
        language=languages.get(clip.pieces[0].clip, ""),
        score=clip.score,
        words=clip.words,
    )


def _sounding(data: Path, clip: ProofClip, heard: Mapping[str, tuple[PreparedWord, ...]]) -> Sounding:
    try:
        return sounding_now(data, clip, heard)
    except DataError:  # what it was made from is gone: places are estimated from letters alone
        return Sounding(clip.seconds)


def _languages(data: Path) -> dict[str, str]:
    """Return the language of every clip that was prepared."""
    record = read_prepared(data)
    recordings = record.recordings if record is not None else ()
    return {clip.clip: recording.language for recording in recordings for clip in recording.clips}


def _id_of(clips: Sequence[ProofClip]) -> str:
    told = json_text([(clip.clip, clip.text, clip.seconds) for clip in clips], None)
    return hashlib.sha256(told.encode("utf-8")).hexdigest()[:16]
