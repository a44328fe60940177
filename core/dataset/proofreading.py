"""Corrections of a data set by whoever reads along: what each does, and how all of them are undone.

Nothing here touches a file. A data set's clips as they were made, and the list of edits, give its clips as
they should be; taking the last edit away gives them as they were before. `stages/prepare/realise.py` brings
the files in line.

Clips as they should be are `ProofClip`s: one or more pieces of clips that were made, and a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import DataError
from ..messages import plural
from .edits import ChangeText, Edit, Join, LeaveOut, Split
from .prepared import DOUBTFUL, PreparedClip, PreparedWord, certainty


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a clip as it was made; seconds from its beginning."""

    clip: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ProofClip:
    """A clip as it should be."""

    clip: str
    """`SPEAKER/NAME`."""
    pieces: tuple[Piece, ...]
    text: str
    score: float | None = None
    """0 … 1: how sure the transcript is; None where nothing heard it, 1 where somebody corrected it."""
    words: tuple[PreparedWord, ...] = ()
    """As they were heard, by the clip's own time; nothing where the text is another one."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return sum(piece.end - piece.start for piece in self.pieces)

    @property
    def is_doubtful(self) -> bool:
        """Whether its words were heard, and not surely."""
        return self.score is not None and self.score < DOUBTFUL


def least_sure_first(clips: Iterable[ProofClip]) -> list[ProofClip]:
    """Return clips in the order in which they are worth a look; last those that nothing heard."""
    return sorted(clips, key=lambda clip: (clip.score is None, clip.score or 0.0))


def as_made(clip: PreparedClip) -> ProofClip:
    """Return a clip of the record as it was made."""
    whole = Piece(clip.clip, 0.0, round(clip.end - clip.start, 3))
    return ProofClip(clip.clip, (whole,), clip.text, clip.score, clip.words)


def proofread(made: Iterable[ProofClip], edits: Sequence[Edit]) -> list[ProofClip]:
    """Return the clips as they should be after all edits, in their order.

    Raises:
        DataError: an edit is about a clip that is not there, or asks for what is impossible.
    """
    clips = list(made)
    for edit in edits:
        clips = _apply(clips, edit)
    return clips


def _apply(clips: list[ProofClip], edit: Edit) -> list[ProofClip]:
    place = next((number for number, clip in enumerate(clips) if clip.clip == edit.clip), None)
    if place is None:
        raise DataError(
            "There is no clip {clip} to be edited.",
            "It may have been left out, joined or renamed by an edit before.",
            clip=edit.clip,
        )
    clip = clips[place]
    match edit:
        case ChangeText():
            text = " ".join(edit.text.split())
            if not text:
                raise DataError(
                    "The text of {clip} would be empty.", "Leave the clip out instead.", clip=clip.clip
                )
            return [*clips[:place], replace(clip, text=text, score=1.0, words=()), *clips[place + 1 :]]
        case LeaveOut():
            return [*clips[:place], *clips[place + 1 :]]
        case Split():
            return [*clips[:place], *_split(clip, edit, {each.clip for each in clips}), *clips[place + 1 :]]
        case Join():
            following = clips[place + 1] if place + 1 < len(clips) else None
            if following is None or _folder(following.clip) != _folder(clip.clip):
                raise DataError("No clip lies behind {clip}.", "Join another one.", clip=clip.clip)
            return [*clips[:place], _joined(clip, following), *clips[place + 2 :]]


def _split(clip: ProofClip, edit: Split, taken: set[str]) -> list[ProofClip]:
    said = clip.text.split()
    if not 0 < edit.at < clip.seconds or not 0 < edit.before < len(said):
        raise DataError(
            "{clip} has {seconds:.2f} s and {words}; it cannot be split at {at:.2f} s before word {before}.",
            "Split it between two of its words.",
            clip=clip.clip,
            at=edit.at,
            before=edit.before,
            seconds=clip.seconds,
            words=plural(len(said), "{number} word", "{number:,} words"),
        )
    first, second = _cut_pieces(clip.pieces, edit.at)
    heard = clip.words if len(clip.words) == len(said) else ()
    name = f"{clip.clip}+"
    while name in taken:
        name += "+"
    parts = (
        (clip.clip, first, said[: edit.before], heard[: edit.before], 0.0),
        (name, second, said[edit.before :], heard[edit.before :], edit.at),
    )
    return [
        ProofClip(
            part_name,
            pieces,
            " ".join(part),
            certainty(words) if words else clip.score,
            tuple(_shifted(word, -begin) for word in words),
        )
        for part_name, pieces, part, words, begin in parts
    ]


def _cut_pieces(pieces: Sequence[Piece], at: float) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    first: list[Piece] = []
    second: list[Piece] = []
    begin = 0.0
    for piece in pieces:
        inside = piece.start + min(max(at - begin, 0.0), piece.end - piece.start)
        if inside > piece.start:
            first.append(replace(piece, end=inside))
        if inside < piece.end:
            second.append(replace(piece, start=inside))
        begin += piece.end - piece.start
    return tuple(first), tuple(second)


def _joined(clip: ProofClip, following: ProofClip) -> ProofClip:
    scores = [each.score for each in (clip, following) if each.score is not None]
    are_heard = bool(clip.words and following.words)
    shifted = tuple(_shifted(word, clip.seconds) for word in following.words)
    return ProofClip(
        clip.clip,
        (*clip.pieces, *following.pieces),
        f"{clip.text} {following.text}",
        min(scores, default=None),
        clip.words + shifted if are_heard else (),
    )


def _shifted(word: PreparedWord, seconds: float) -> PreparedWord:
    start, end = round(max(word.start + seconds, 0.0), 2), round(max(word.end + seconds, 0.0), 2)
    return word.model_copy(update={"start": start, "end": end})


def _folder(clip: str) -> str:
    return clip.rpartition("/")[0]
