"""What a set-up needs of memory at any size of batch, from a few sizes that were accounted.

A stage goes through a few phases, such as the slow stack's backward pass. At the instant of a phase that
needs most, the bytes of each part grow with the size of the batch along a line with bends (a chunk of logits
is full, from some size on), and by so much for each frame less and for each product of queries and keys,
of which those of long rows count otherwise.
The peak is that of the phase which needs most: the largest of a few piecewise linear functions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, FiniteFloat

from .estimate import Part
from .setups import Batch

Moments = Mapping[str, Mapping[Part, int]]
"""By phase: the bytes of every part at the instant when most were in use in that phase."""
_NEVER_MOST = 0.7
"""A phase that nowhere needs this share of the peak is left out."""


class Growth(BaseModel):
    """Bytes of one part at the peak of one phase."""

    model_config = ConfigDict(frozen=True)

    line: tuple[int, ...]
    """At the sizes of the profile."""
    slopes: tuple[FiniteFloat, ...]
    """Bytes for each unit of the batch's offsets."""


class Profile(BaseModel):
    """Memory of one set-up."""

    model_config = ConfigDict(frozen=True)

    sizes: tuple[int, ...]
    phases: dict[str, dict[Part, Growth]]

    @classmethod
    def of(cls, measured: Mapping[Batch, Moments], line: Sequence[Batch], probes: Sequence[Batch]) -> Profile:
        """Return the profile through what was measured.

        Args:
            line: batches of growing size.
            probes: the last of them, one for each offset, which it changes, and may change those before it.
        """
        peaks = {batch: max(_total(parts) for parts in measured[batch].values()) for batch in measured}
        names = [
            name
            for name in measured[line[0]]
            if any(_total(measured[batch].get(name, {})) >= _NEVER_MOST * peaks[batch] for batch in measured)
        ]
        phases = {}
        for name in names:
            parts = {part for moments in measured.values() for part in moments.get(name, {})}
            grown = {
                part: Growth(
                    line=tuple(measured[batch].get(name, {}).get(part, 0) for batch in line),
                    slopes=_slopes(measured, name, part, line[-1], probes),
                )
                for part in Part
                if part in parts
            }
            phases[name] = {part: growth for part, growth in grown.items() if any(growth.line)}
        return cls(sizes=tuple(batch.size for batch in line), phases=phases)

    def at(self, batch: Batch) -> dict[Part, int]:
        """Return the bytes of each part at the peak of a batch."""
        return max((self._phase(parts, batch) for parts in self.phases.values()), key=_total)

    def _phase(self, parts: Mapping[Part, Growth], batch: Batch) -> dict[Part, int]:
        found = {}
        for part, growth in parts.items():
            size, offsets = batch.seen_by(part)
            upper = min(max(bisect_right(self.sizes, size), 1), len(self.sizes) - 1)
            low, high = self.sizes[upper - 1], self.sizes[upper]
            first, second = growth.line[upper - 1], growth.line[upper]
            grown = first + (second - first) * (size - low) / (high - low)
            beside = sum(slope * offset for slope, offset in zip(growth.slopes, offsets, strict=True))
            found[part] = max(round(grown + beside), 0)
        return found


def _total(parts: Mapping[Part, int]) -> int:
    return sum(parts.values())


def _slopes(
    measured: Mapping[Batch, Moments], name: str, part: Part, base: Batch, probes: Sequence[Batch]
) -> tuple[float, ...]:
    """Return the bytes for each unit of each offset, which the probe of its number tells from `base`."""

    def bytes_at(batch: Batch) -> int:
        return measured[batch].get(name, {}).get(part, 0)

    slopes: list[float] = []
    for number, probe in enumerate(probes):
        distances = [there - here for there, here in zip(probe.offsets, base.offsets, strict=True)]
        known = sum(slope * distance for slope, distance in zip(slopes, distances, strict=False))
        own = distances[number]  # 0 where no row of this model can be as long
        slopes.append((bytes_at(probe) - bytes_at(base) - known) / own if own else 0.0)
    return tuple(slopes)
