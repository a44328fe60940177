"""What is wrong with generated speech: rules over its codes and its samples."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..audio.levels import decibels
from ..messages import Message
from .record import SpeechFault, SpeechFaultKind

BYTES_PER_SECOND = 14.0
"""Speed of speech in UTF-8 bytes of its transcript: where a sign is a syllable, it takes more bytes."""
WINDOW_SECONDS = 0.05
"""Of `window_powers`."""
_SILENCE = -50.0
"""dBFS of a window that counts as silent."""
_MOST_SILENCE = 0.6
_FADE = 15.0
"""Decibels by which the last third may be quieter than the first."""
SHORTEST, LONGEST = 0.4, 2.5
"""Length relative to the expected duration of the text."""
_STUCK_SECONDS = 1.5


def expected_seconds(text: str, bytes_per_second: float = BYTES_PER_SECOND) -> float:
    """Return how long `text` takes to say, about."""
    return max(0.5, len(text.encode("utf-8")) / bytes_per_second)


def find_faults(
    codes: npt.NDArray[np.int64],
    samples: npt.NDArray[np.float32],
    *,
    sample_rate: int,
    ended: bool,
    expected: float,
) -> list[SpeechFault]:
    """Return what is wrong with one generated recording; nothing if it sounds like speech.

    Args:
        codes: `(K, frames)`.
        samples: what the codec made of them, mono.
        ended: whether the model ended by itself.
        expected: `expected_seconds` of its text.
    """
    if codes.shape[1] == 0:
        return [
            SpeechFault(
                kind=SpeechFaultKind.EMPTY, message=Message("The model ended before the first frame.")
            )
        ]
    seconds = len(samples) / sample_rate
    found: dict[SpeechFaultKind, Message] = {}
    if not ended:
        found[SpeechFaultKind.ENDLESS] = Message(
            "The model did not end by itself within {seconds:.1f} s.", seconds=seconds
        )
    elif seconds > LONGEST * expected:
        found[SpeechFaultKind.LONG] = Message(
            "{seconds:.1f} s for a text of about {expected:.1f} s.", seconds=seconds, expected=expected
        )
    if seconds < SHORTEST * expected:
        found[SpeechFaultKind.SHORT] = Message(
            "Only {seconds:.1f} s for a text of about {expected:.1f} s.", seconds=seconds, expected=expected
        )
    powers = window_powers(samples, sample_rate)
    silent = float((powers < 10 ** (_SILENCE / 10)).mean())
    fade = fading(powers)
    if silent > _MOST_SILENCE:
        found[SpeechFaultKind.SILENT] = Message(
            "{share:.0%} of it is silence (below {limit:.0f} dBFS).", share=silent, limit=_SILENCE
        )
    elif fade > _FADE:
        found[SpeechFaultKind.FADING] = Message(
            "The last third is {fall:.0f} dB quieter than the first.", fall=fade
        )
    stuck = longest_repetition(codes) * seconds / codes.shape[1]
    if stuck > _STUCK_SECONDS:
        found[SpeechFaultKind.STUCK] = Message("One frame is repeated for {seconds:.1f} s.", seconds=stuck)
    return [SpeechFault(kind=kind, message=message) for kind, message in found.items()]


def window_powers(samples: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.float64]:
    """Return the mean square of every 50 ms."""
    window = max(1, round(WINDOW_SECONDS * sample_rate))
    count = max(1, len(samples) // window)
    windows = np.resize(samples.astype(np.float64), count * window).reshape(count, window)
    powers: npt.NDArray[np.float64] = np.square(windows).mean(axis=1)
    return powers


def fading(powers: npt.NDArray[np.float64]) -> float:
    """Return by how many decibels the last third is quieter than the first; negative if it is louder.

    A recording of less than 1 s is not judged: its last third may be one closing consonant.
    """
    if len(powers) * WINDOW_SECONDS < 1:
        return 0.0
    third = len(powers) // 3
    first, last = (math.sqrt(float(part.mean())) for part in (powers[:third], powers[-third:]))
    if first == 0:
        return 0.0
    return decibels(first) - max(decibels(last), -120.0)


def longest_repetition(codes: npt.NDArray[np.int64]) -> int:
    """Return the length of the longest run of equal frames."""
    same = (codes[:, 1:] == codes[:, :-1]).all(axis=0)
    longest = run = 1
    for equal in same:
        run = run + 1 if equal else 1
        longest = max(longest, run)
    return longest
