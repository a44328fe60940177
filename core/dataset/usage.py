"""How many clips of a data set are used, and why the others are not: the one count from checking to packing.

Checking, packing, a project's steps and the wizard say `Usage.said`; nobody counts in another way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum
from typing import Final

from pydantic import ConfigDict

from ..data_model import DataModel
from ..messages import Message, joined, plural
from .findings import FindingKind


class DropReason(StrEnum):
    """Why a clip is not used."""

    EXCLUDED = "left out by choice"
    TOO_LONG = "recording too long"
    NO_TEXT = "no transcript"
    EMPTY_TEXT = "transcript empty"
    UNREADABLE_TEXT = "transcript unreadable"
    TOKENS_IN_TEXT = "transcript with control tokens"
    UNREADABLE_RECORDING = "recording unreadable"
    NO_RECORDING = "no recording"
    SEVERAL_RECORDINGS = "several recordings of one name"
    NO_CODES = "no codes"
    STALE_CODES = "codes of another recording"
    DAMAGED_CODES = "codes damaged"
    OTHER_CODEC = "another number of codebooks"


REASON_OF: Final[Mapping[FindingKind, DropReason]] = {
    FindingKind.TEXT_UNREADABLE: DropReason.UNREADABLE_TEXT,
    FindingKind.TEXT_NOT_UTF8: DropReason.UNREADABLE_TEXT,
    FindingKind.TEXT_BINARY: DropReason.UNREADABLE_TEXT,
    FindingKind.TEXT_TOKENS: DropReason.TOKENS_IN_TEXT,
    FindingKind.TEXT_EMPTY: DropReason.EMPTY_TEXT,
    FindingKind.AUDIO_UNREADABLE: DropReason.UNREADABLE_RECORDING,
    FindingKind.AUDIO_EMPTY: DropReason.UNREADABLE_RECORDING,
    FindingKind.AUDIO_TOO_LONG: DropReason.TOO_LONG,
}
"""What errors about a clip's own files come to."""
_COUNTED: Final[Mapping[DropReason, Callable[[int], Message]]] = {
    DropReason.EXCLUDED: lambda number: Message("{number:,} left out by choice", number=number),
    DropReason.TOO_LONG: lambda number: Message("{number:,} too long", number=number),
    DropReason.NO_TEXT: lambda number: Message("{number:,} without text", number=number),
    DropReason.EMPTY_TEXT: lambda number: Message("{number:,} with an empty text", number=number),
    DropReason.UNREADABLE_TEXT: lambda number: Message("{number:,} with an unreadable text", number=number),
    DropReason.TOKENS_IN_TEXT: lambda number: Message(
        "{number:,} with control tokens in the text", number=number
    ),
    DropReason.UNREADABLE_RECORDING: lambda number: Message("{number:,} unreadable", number=number),
    DropReason.NO_RECORDING: lambda number: Message("{number:,} without a recording", number=number),
    DropReason.SEVERAL_RECORDINGS: lambda number: Message(
        "{number:,} with several recordings", number=number
    ),
    DropReason.NO_CODES: lambda number: Message("{number:,} without codes", number=number),
    DropReason.STALE_CODES: lambda number: Message(
        "{number:,} with codes of another recording", number=number
    ),
    DropReason.DAMAGED_CODES: lambda number: Message("{number:,} with damaged codes", number=number),
    DropReason.OTHER_CODEC: lambda number: Message("{number:,} with codes of another codec", number=number),
}


class Usage(DataModel):
    """How many clips there are, and what keeps some of them from being used."""

    model_config = ConfigDict(frozen=True)

    clips: int
    """All names, complete or not, those left out by choice included."""
    dropped: dict[DropReason, int] = {}
    """How many are not used for each reason, most first."""

    @classmethod
    def of(cls, clips: int, reasons: Iterable[DropReason]) -> Usage:
        """Count the reasons of those of `clips` that are not used."""
        counted, order = Counter(reasons), list(DropReason)
        ranked = sorted(counted.items(), key=lambda item: (-item[1], order.index(item[0])))
        return cls(clips=clips, dropped=dict(ranked))

    @classmethod
    def after_check(
        cls, clips: Iterable[str], dropped: Mapping[str, str], exclude: Collection[str]
    ) -> Usage | None:
        """Return the count of a data set that was checked; None where its reasons are of another version.

        Args:
            clips: all of them, as `SPEAKER/NAME`.
            dropped: the reason for each that the check found unusable.
            exclude: clips that are to be left out now, whatever was left out when it was checked.
        """
        names, out = list(clips), set(exclude)
        try:
            found = {name: DropReason(reason) for name, reason in dropped.items()}
        except ValueError:
            return None
        reasons = (DropReason.EXCLUDED if name in out else found.get(name) for name in names)
        return cls.of(len(names), filter(None, reasons))

    @property
    def used(self) -> int:
        """Clips that are used."""
        return self.clips - sum(self.dropped.values())

    @property
    def why_not(self) -> Message:
        """Why the others are not: `1 too long, 1 without text`; nothing where all are used."""
        return joined((_COUNTED[reason](number) for reason, number in self.dropped.items()), ", ")

    @property
    def said(self) -> Message:
        """The count in a sentence: `8 of 11 clips will be used: 1 too long, 2 without text.`."""
        if not self.clips:
            return Message("There are no clips.")
        if not self.dropped:
            return plural(self.clips, "The only clip will be used.", "All {number:,} clips will be used.")
        clips = plural(self.clips, "{number} clip", "{number:,} clips")
        if not self.used:
            return Message("None of {clips} can be used: {reasons}.", clips=clips, reasons=self.why_not)
        return Message(
            "{used:,} of {clips} will be used: {reasons}.",
            used=self.used,
            clips=clips,
            reasons=self.why_not,
        )
