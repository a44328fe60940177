"""Captions laid over stretches of speech: what is said between two pauses, as far as captions tell.

Their times are those of a reader's eye, some tenths of a second off, so a caption never says where to cut; it
only says which words belong to which stretches of speech.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .captions import Caption
from .cuts import Span

_TOUCHES = 0.25
"""Seconds that a caption and a stretch of speech must share to belong together; half of the shorter one,
where that is less."""


@dataclass(frozen=True)
class Captioned:
    """Stretches of speech with their words."""

    spans: list[Span]
    """In order; each runs from the first to the last word of one or more captions."""
    texts: dict[Span, str]
    unwanted: frozenset[Span]
    """Those of the spans that no caption has words for."""


def lay_over(captions: Sequence[Caption], speech: Sequence[Span]) -> Captioned:
    """Return stretches of speech joined so that no caption's words lie in two of them.

    Captions that share a stretch are joined: their words are whole then, if not well divided.

    Args:
        captions: in order, as `read_captions` gives them.
        speech: in order, as `speech_spans` gives them.
    """
    groups: list[tuple[Span, list[int]]] = []
    first = 0
    for span in speech:
        while first < len(captions) and captions[first].end <= span.start:
            first += 1
        owners = []
        for number in range(first, len(captions)):
            if captions[number].start >= span.end:
                break
            if _belong(captions[number], span):
                owners.append(number)
        if owners and groups and groups[-1][1] and groups[-1][1][-1] >= owners[0]:
            before, held = groups[-1]
            groups[-1] = Span(before.start, span.end), [*held, *(new for new in owners if new > held[-1])]
        else:
            groups.append((span, owners))
    return Captioned(
        [span for span, _ in groups],
        {span: " ".join(captions[number].text for number in owners) for span, owners in groups if owners},
        frozenset(span for span, owners in groups if not owners),
    )


def _belong(caption: Caption, span: Span) -> bool:
    shared = min(caption.end, span.end) - max(caption.start, span.start)
    return shared >= min(_TOUCHES, (caption.end - caption.start) / 2, span.seconds / 2)
