"""Keys and values that generation keeps, so that each column is computed once.

`R` rows (sequences), `L` positions, `T` new columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..compute.devices import unused_memory
from ..compute.layers import LayerPast
from .shape import TransformerShape


class KeyValueCache:
    """Keys and values of all layers of a stack for R sequences of up to L columns each; allocated once."""

    def __init__(
        self, shape: TransformerShape, rows: int, length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        # Zeros, as what is masked is still multiplied, and zero times what memory holds may be no number.
        self._data = torch.zeros(
            shape.n_layer, 2, rows, shape.n_local_heads, length, shape.head_dim, dtype=dtype, device=device
        )

    @property
    def length(self) -> int:
        """L."""
        return self._data.shape[4]

    def share(self, columns: int) -> None:
        """Give all rows the first columns of row 0."""
        self._data[:, :, 1:, :, :columns] = self._data[:, :, :1, :, :columns]

    def at(self, positions_RT: Tensor, seen: int) -> Past:
        """Return the cache with new columns at these positions of all rows; see `Past`."""
        return Past(self._data, positions_RT, seen)

    def row(self, number: int, start: int, columns: int) -> Past:
        """Return one row with new columns from position `start` on."""
        positions = torch.arange(start, start + columns, device=self._data.device)
        return Past(self._data[:, :, number : number + 1], positions[None], start + columns)


@dataclass(frozen=True)
class Past:
    """Columns that came before new ones.

    Attributes:
        data: keys and values of a `KeyValueCache`.
        positions: of the new columns, each in its sequence from 0, `(B, T)`.
        seen: cached positions below this are looked at; more than the largest new one.
    """

    data: Tensor
    positions: Tensor
    seen: int

    @property
    def mask(self) -> Tensor | None:
        """True where a new column may see a position, `(B, 1, T, seen)`; None where all positions are new."""
        if self.positions.shape[1] == self.seen:
            return None
        positions = torch.arange(self.seen, device=self.positions.device)
        return positions <= self.positions[:, None, :, None]

    def layer(self, number: int) -> LayerPast:
        """Return what the layer of this number sees."""
        keys, values = self.data[number].unbind()
        return LayerPast(keys, values, self.positions)


def rows_that_fit(
    shape: TransformerShape, length: int, most: int, dtype: torch.dtype, device: torch.device
) -> int:
    """Return how many rows of `length` columns a cache on a device should have: 1 to `most`.

    On a GPU they take at most half of what is unused. On a CPU the weights need more than they do.
    """
    if device.type != "cuda":
        return most
    row = shape.n_layer * 2 * shape.n_local_heads * length * shape.head_dim * dtype.itemsize
    return max(1, min(most, unused_memory(device) // (2 * row)))
