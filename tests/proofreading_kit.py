"""A small data set as `prepare` leaves it: tones, words with times and probabilities, a hostile text."""

from __future__ import annotations

from pathlib import Path

import soundfile
from fishtune.core.dataset.prepared import (
    PreparedClip,
    PreparedData,
    PreparedRecording,
    PreparedWord,
    WordsFrom,
    certainty,
    write_prepared,
)

from .listening_kit import SAMPLE_RATE, sound

HOSTILE = '</script><img src=x onerror="window.hacked=1"><b>bold</b> & "quotes"'
CLIPS = {
    "MIA/talk-0001": (2.0, "Good morning from Kyoto.", (0.99, 0.95, 0.9, 0.2)),
    "MIA/talk-0002": (1.5, "The train leaves at nine.", (0.98, 0.97, 0.96, 0.95, 0.99)),
    "MIA/talk-0003": (1.0, HOSTILE, ()),
    "TOM/one": (1.2, "Nobody minded <b>that</b> much.", (0.6, 0.4, 0.7, 0.8)),
    "TOM/two": (0.8, "It rained.", (0.9, 0.9)),
}
"""Seconds, text, and how sure each word is; the words are equally long."""


def make_data(root: Path) -> Path:
    """Write the data set and its record into a folder and return the folder."""
    prepared = []
    for number, (name, (seconds, text, sure)) in enumerate(CLIPS.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / f"{name}.wav", sound(seconds, 120 + 40 * number), SAMPLE_RATE)
        (root / f"{name}.lab").write_text(f"{text}\n", encoding="utf-8")
        length = seconds / max(1, len(sure))
        words = tuple(
            PreparedWord(
                text=word,
                start=round(place * length, 2),
                end=round((place + 0.8) * length, 2),
                probability=probability,
            )
            for place, (word, probability) in enumerate(zip(text.split(), sure, strict=False))
        )
        prepared.append(
            PreparedClip(
                clip=name,
                start=0.0,
                end=seconds,
                text=text,
                origin=WordsFrom.HEARD if words else WordsFrom.GIVEN,
                score=certainty(words),
                words=words,
            )
        )
    recording = PreparedRecording(
        source="talk.wav", digest="x", seconds=6.5, language="en", clips=tuple(prepared)
    )
    write_prepared(root, PreparedData(recordings=(recording,)))
    return root
