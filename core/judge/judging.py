"""From what was measured of a recording to what is said about it."""

from __future__ import annotations

from .alignment import Kind
from .differences import differences
from .results import HeardDifference, Judgement
from .speaker import similarity
from .verdict import Evidence, Voice, judge


def judgement(evidence: Evidence, voice: Voice, heard: str, *, has_text: bool = True) -> Judgement:
    """Return the numbers of a recording, and what is wrong with it as a recording of `voice`.

    Args:
        heard: what recognition heard.
        has_text: whether it is known what should be said; otherwise nothing is said about words.
    """
    alignment = evidence.alignment if has_text else None
    alike = None
    if voice.embedding is not None and evidence.embedding is not None:
        alike = similarity(evidence.embedding, voice.embedding)
    return Judgement(
        heard=heard,
        seconds=evidence.acoustics.seconds,
        wer=alignment.error_rate if alignment else None,
        deletions=alignment.count(Kind.DELETED) if alignment else None,
        insertions=alignment.count(Kind.INSERTED) if alignment else None,
        substitutions=alignment.count(Kind.SUBSTITUTED) if alignment else None,
        differences=[
            HeardDifference(
                expected=each.expected_text,
                heard=each.heard_text,
                start=evidence.starts[each.place] if each.place >= 0 else None,
            )
            for each in (differences(alignment) if alignment else ())
        ],
        similarity=alike,
        rate=evidence.rate,
        pitch=evidence.pitch,
        background=evidence.background,
        findings=judge(evidence, voice),
    )
