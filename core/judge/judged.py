"""Recordings held against the voice that they share: each with its numbers and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .differences import letters_of_text
from .judging import judgement
from .results import Judgement
from .speaker import Embedding
from .verdict import Evidence, Voice, voice_of
from .voices import shared_voice

_MANY = 200
"""Clips of a folder from which all are held against one voice."""


class JudgedClip(Judgement):
    """One recording."""

    file: Path
    text: str | None
    """What it should say."""


@dataclass(frozen=True)
class Listened:
    """What listening to one recording gave."""

    path: Path
    text: str | None
    """What it should say."""
    heard: str
    """What recognition heard."""
    evidence: Evidence
    folder: Path
    """Recordings of one folder are of one voice."""


@dataclass(frozen=True)
class Judged:
    """Result of `judged`."""

    clips: list[JudgedClip]
    """In the order of the recordings."""
    mixed: list[Path]
    """Folders whose recordings have no voice in common, so that voices were not compared there."""


def judged(listened: list[Listened], reference: Evidence | None = None) -> Judged:
    """Hold recordings against a reference, or those of one folder against one another."""
    folders: dict[Path, list[Listened]] = {}
    for one in listened:
        folders.setdefault(one.folder if reference is None else Path(), []).append(one)
    found: dict[Path, JudgedClip] = {}
    mixed: list[Path] = []
    for folder, clips in folders.items():
        if reference is not None:
            embeddings: list[Embedding | None] = [reference.embedding] * len(clips)
        else:
            embeddings = shared_voice([clip.evidence.embedding for clip in clips])
            if not any(voice is not None for voice in embeddings) and _can_compare(clips):
                mixed.append(folder)
        everyone = [clip.evidence for clip in clips]
        common = _voice(None, everyone, next(filter(_is_known, embeddings), None), reference)
        for clip, embedding in zip(clips, embeddings, strict=True):
            # Among many, one clip's own share in what it is held against is next to nothing.
            is_one_of_many = len(clips) > _MANY and embedding is not None
            voice = common if is_one_of_many else _voice(clip, everyone, embedding, reference)
            found[clip.path] = _judge(clip, voice)
    return Judged([found[one.path] for one in listened], mixed)


def _is_known(embedding: Embedding | None) -> bool:
    return embedding is not None


def _can_compare(clips: list[Listened]) -> bool:
    return sum(clip.evidence.embedding is not None for clip in clips) > 2


def _voice(
    clip: Listened | None, everyone: list[Evidence], embedding: Embedding | None, reference: Evidence | None
) -> Voice:
    own = [each for each in everyone if clip is None or each is not clip.evidence]
    if reference is None:
        # Clips of a folder without a common voice are of several: none tells another's pace.
        return voice_of(own if embedding is not None else [], embedding)
    return voice_of([reference, *own], embedding, letters_of_text(reference.alignment))


def _judge(clip: Listened, voice: Voice) -> JudgedClip:
    found = judgement(clip.evidence, voice, clip.heard, has_text=clip.text is not None)
    return JudgedClip(file=clip.path, text=clip.text, **dict(found))
