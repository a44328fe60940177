"""What everyone in an audition is asked: which texts, in whose voice, with which seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...config.presets import preset_names
from ...config.settings import AuditionSettings
from ...judge.results import AuditionText, TextSource
from ...judge.rules import BYTES_PER_SECOND
from ...shards.index import ShardIndex
from ...shards.split import split
from ...text.languages import likely_language
from ...text.prompts import Turn
from ...text.texts import texts_of

HELD_OUT = 8
"""Held-out clips whose transcripts are said, at most."""
_REFERENCE_SECONDS = 6.0
_HELD_OUT_SECONDS = (1.0, 20.0)
"""Length of held-out clips that are taken."""
_LOOKED_AT = 200
"""Transcripts that tell the language of a data set."""
_DEFAULT_LANGUAGE = "en"
_VERSION = 1


@dataclass(frozen=True)
class OwnClip:
    """A clip of the user's data set."""

    name: str
    turn: Turn


@dataclass(frozen=True)
class DataSet:
    """What a packed data set tells of the speaker with most speech in it."""

    reference: OwnClip | None = None
    """The clip nearest to 6 s that training saw."""
    held_out: tuple[OwnClip, ...] = ()
    """Up to 8 clips that training did not see, from short to long."""
    transcripts: tuple[str, ...] = ()
    bytes_per_second: float = BYTES_PER_SECOND


@dataclass(frozen=True)
class Question:
    """What everyone is asked."""

    texts: tuple[AuditionText, ...]
    """Rows. Those of held-out clips come last."""
    said: int
    """How many of them, from the first, are said; what is left only the recordings have."""
    seeds: tuple[int, ...]
    reference: Turn | None
    reference_name: str
    recordings: dict[int, Turn]
    """The held-out clip of each row that has one."""
    language: str | None
    bytes_per_second: float
    made_from: dict[str, Any]
    """What else the recordings follow from: the base, the codec, how codes are drawn."""

    @cached_property
    def digest(self) -> str:
        """Digest of everything that recordings follow from, beside who speaks."""
        reference = None if self.reference is None else [self.reference.text, _digest(self.reference.codes)]
        content = [
            _VERSION,
            [each.text for each in self.texts[: self.said]],
            self.seeds,
            reference,
            round(self.bytes_per_second, 6),
            self.made_from,
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_data_set(protos: Path | None, share: float | None, frame_rate: float) -> DataSet:
    """Return what the data set in `protos` tells.

    Args:
        share: that training held out, of which the split follows; None = nothing is known to be held out.

    Raises:
        ShardError, StorageError: it cannot be read.
    """
    if protos is None:
        return DataSet()
    index = ShardIndex.open(protos)
    frames, text_bytes = np.asarray(index.frames, float), np.asarray(index.text_bytes, float)
    busiest = np.bincount(index.speaker_ids, weights=frames).argmax()
    own = np.flatnonzero(index.speaker_ids == busiest)
    content = np.ascontiguousarray(index.content_hashes, dtype=np.uint64)
    held_out = split(index.speaker_ids, content, share or 0.0).held_out
    seen = np.setdiff1d(own, held_out)
    reference = int(seen[np.abs(frames[seen] / frame_rate - _REFERENCE_SECONDS).argmin()])
    step = max(1, len(index) // _LOOKED_AT)
    return DataSet(
        reference=_clip(index, reference),
        held_out=tuple(
            _clip(index, clip)
            for clip in _chosen(np.intersect1d(own, held_out), frames / frame_rate)
            if content[clip] != content[reference]
        ),
        transcripts=tuple(index.read(number).texts[0] for number in range(0, len(index), step)),
        bytes_per_second=float(np.median(text_bytes[own] / frames[own]) * frame_rate),
    )


def _chosen(clips: npt.NDArray[np.int64], seconds: npt.NDArray[np.float64]) -> list[int]:
    """Return up to `HELD_OUT` clips, spread evenly from short to long."""
    shortest, longest = _HELD_OUT_SECONDS
    usable = clips[(seconds[clips] >= shortest) & (seconds[clips] <= longest)]
    usable = usable[np.argsort(seconds[usable], kind="stable")]
    places = np.linspace(0, len(usable) - 1, min(HELD_OUT, len(usable))).round().astype(int)
    return [int(clip) for clip in usable[places]]


def _clip(index: ShardIndex, clip: int) -> OwnClip:
    sentence = index.read(clip)
    return OwnClip(index.name(clip), Turn(sentence.texts[0], sentence.codes))


def make_question(
    settings: AuditionSettings,
    data: DataSet,
    reference: OwnClip | None,
    made_from: dict[str, Any],
    fits: Callable[[str], bool],
) -> Question:
    """Return what everyone is asked.

    Where texts are given they alone are said; else it is ours of the language and the held-out transcripts.

    Args:
        reference: whose voice is given.
        fits: whether the model's sequences hold a text; those of ours that do not fit are left out.

    Raises:
        UsageError, SettingsError, StorageError: see `texts_of`.
    """
    language = settings.language or likely_language(data.transcripts)
    given = [*settings.texts, *(texts_of(settings.text_source) if settings.text_source else [])]
    if given:
        rows = [AuditionText(text=text, source=TextSource.GIVEN) for text in given]
    else:
        is_ours = language in preset_names("texts")
        ours = language if language is not None and is_ours else _DEFAULT_LANGUAGE
        rows = [AuditionText(text=text, source=TextSource.OURS) for text in texts_of(ours) if fits(text)]
        if not is_ours:  # beside transcripts of another language each text's own is recognised
            language = None if data.held_out else ours
    said = len(rows)
    held_out = [clip for clip in data.held_out if fits(clip.turn.text)]
    recordings = {said + place: clip.turn for place, clip in enumerate(held_out)}
    rows += [
        AuditionText(text=clip.turn.text, source=TextSource.HELD_OUT, clip=clip.name) for clip in held_out
    ]
    return Question(
        texts=tuple(rows),
        said=said if given else len(rows),
        seeds=tuple(range(settings.seed, settings.seed + settings.seeds)),
        reference=reference.turn if reference else None,
        reference_name=reference.name if reference else "",
        recordings=recordings,
        language=language,
        bytes_per_second=data.bytes_per_second,
        made_from={**made_from, "held_out": [_digest(clip.turn.codes) for clip in data.held_out]},
    )


def _digest(codes: npt.NDArray[np.integer[Any]]) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes, dtype="<i8").tobytes()).hexdigest()
