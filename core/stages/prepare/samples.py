"""The samples of long recordings, piece by piece: never more of one in memory than a clip needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...audio.mixing import Waveform, mix
from ...audio.recordings import read_pieces
from ...audio.resampling import check_rate, resample
from .cuts import Span

_PIECE_SECONDS = 10


class Length:
    """How long a recording turned out to be."""

    seconds = 0.0


def mono_pieces(path: Path, sample_rate: int, length: Length) -> Iterator[Waveform]:
    """Yield a recording as mono at a rate (Hz), in pieces; `length` grows with them.

    Raises:
        DataError, StorageError: see `read_pieces` and `check_rate`.
    """
    for samples, rate in read_pieces(path, _PIECE_SECONDS):
        check_rate(path, rate, sample_rate)
        length.seconds += len(samples) / rate
        yield resample(mix(samples, rate).samples, rate, sample_rate)


def clips_of(path: Path, spans: Sequence[Span]) -> Iterator[tuple[Span, Waveform, int]]:
    """Yield the clips of a recording as mono, each with its rate (Hz).

    Args:
        spans: in order; they do not overlap.

    Raises:
        DataError, StorageError: see `read_pieces`.
    """
    waiting = list(reversed(spans))
    held: list[Waveform] = []
    begin = end = 0  # of what is held, in samples per channel
    for samples, rate in read_pieces(path, _PIECE_SECONDS):
        held.append(samples)
        end += len(samples)
        while waiting and round(waiting[-1].end * rate) <= end:
            span = waiting.pop()
            first, last = round(span.start * rate), round(span.end * rate)
            held = [np.concatenate(held)]
            yield span, mix(held[0][first - begin : last - begin], rate).samples, rate
        while held and waiting and begin + len(held[0]) <= round(waiting[-1].start * rate):
            begin += len(held.pop(0))
        if not waiting:
            return
