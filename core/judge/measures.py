"""What a candidate's cells come to: means over texts, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .results import Cell, Measure, Measures

_RESAMPLES = 2000
_SEED = 1  # the same cells give the same interval


def measures_of(cells: Sequence[Cell]) -> Measures:
    """Return the means over texts; several seeds of a text count as one, their mean.

    What nothing measured of any cell is None; a cell of which it was not measured does not count in its mean.
    """
    return Measures(
        faulty=_measure(cells, lambda cell: float(bool(cell.findings))),
        # What recognition makes up in noise has no end: one such text would outweigh all others.
        wer=_measure(cells, lambda cell: None if cell.wer is None else min(cell.wer, 1.0)),
        similarity=_measure(cells, lambda cell: cell.similarity),
        rate=_measure(cells, lambda cell: cell.rate),
        pitch=_measure(cells, lambda cell: cell.pitch.median if cell.pitch else None),
        spread=_measure(cells, lambda cell: cell.pitch.spread if cell.pitch else None),
    )


def _measure(cells: Sequence[Cell], value_of: Callable[[Cell], float | None]) -> Measure | None:
    by_text: dict[int, list[float]] = {}
    for cell in cells:
        value = value_of(cell)
        if value is not None:
            by_text.setdefault(cell.text, []).append(value)
    return interval([float(np.mean(values)) for values in by_text.values()]) if by_text else None


def interval(values: Sequence[float]) -> Measure:
    """Return the mean of values, one per text, with the 95 % interval of the percentile bootstrap.

    Efron & Tibshirani 1993, chapter 13: texts are drawn again with replacement, and the interval is the
    middle 95 % of the means.
    """
    drawn = np.random.default_rng(_SEED).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(np.asarray(values)[drawn].mean(axis=1), (0.025, 0.975))
    return Measure(mean=float(np.mean(values)), low=float(low), high=float(high), texts=len(values))
