"""Special tokens of the models, by name: what may stand in a transcript and what must not.

Opens no tokenizer: validation and packing know no checkpoint.
"""

from __future__ import annotations

import re

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
INTERLEAVE = "<|interleave|>"
VOICE = "<|voice|>"
PHONEME_START = "<|phoneme_start|>"
PHONEME_END = "<|phoneme_end|>"
DEFAULT_SPECIAL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|pad|>",
    IM_START,
    IM_END,
    PHONEME_START,
    PHONEME_END,
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<|text|>",
    VOICE,
    INTERLEAVE,
    "<|audio_start|>",
    "<|audio_end|>",
    "<|audio|>",
    *(f"<|semantic:{code}|>" for code in range(4096)),
)
SPOKEN_TOKENS = frozenset((PHONEME_START, PHONEME_END))
"""What a transcript may hold: they stand around phonemes. Every other special token steers the model."""
SPEAKER = re.compile(r"<\|speaker:[0-9]+\|>")
"""A mark of who speaks: plain text to every tokenizer."""
_KNOWN = frozenset(DEFAULT_SPECIAL_TOKENS)
_TOKEN = re.compile(r"<\|[^<>|]*\|>")
_PHONEME_MARK = re.compile(r"<\|phoneme_(?:start|end)\|>")


def control_tokens(text: str) -> list[str]:
    """Return the special tokens in `text` that would end its turn or otherwise steer the model."""
    if "<|" not in text:
        return []
    return [token for token in _TOKEN.findall(text) if token in _KNOWN and token not in SPOKEN_TOKENS]


def phoneme_spans(text: str) -> list[tuple[int, int]]:
    """Return where phonemes stand in `text`, from the start of their first marker to the end of the last.

    A marker without its partner begins or ends no span.
    """
    spans = []
    start = -1
    for mark in _PHONEME_MARK.finditer(text):
        if mark[0] == PHONEME_START:
            start = mark.start()
        elif start >= 0:
            spans.append((start, mark.end()))
            start = -1
    return spans


def has_lone_phoneme_mark(text: str) -> bool:
    """Return whether a phoneme marker of `text` lacks its partner."""
    return len(_PHONEME_MARK.findall(text)) != 2 * len(phoneme_spans(text))


def without_phoneme_marks(text: str) -> str:
    """Return `text` with a space for each phoneme marker; the phonemes stay."""
    return _PHONEME_MARK.sub(" ", text)
