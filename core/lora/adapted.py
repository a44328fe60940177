"""What a checkpoint makes of its base's weights, row by row."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from ..model.containers.container import row_slices
from .files import Adapter, FullWeights, ModuleAdapter


class Weight(Protocol):
    """A weight whose rows can be had in parts: a tensor, or one that is read from its file."""

    @property
    def shape(self) -> torch.Size:
        """Its shape."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Return a range of rows, or those whose numbers are given (N)."""


class ChangedWeight(Protocol):
    """What a checkpoint makes of one weight."""

    def of(self, base: Tensor, rows: slice | Tensor) -> Tensor:
        """Return these rows of the changed weight from the base's, which are float32."""


class AdaptedWeight:
    """A weight with its adapter, in float32. Linear: `W + s·B·A`; embedding: `W + s·(B·A)ᵀ`.

    With DoRA, each row (embedding: column) of that is brought to its learned magnitude.
    """

    def __init__(self, weight: Weight, change: ModuleAdapter) -> None:
        self._weight, self._change = weight, change
        self._a, self._b = change.a.float(), change.b.float()

    def of(self, base: Tensor, rows: slice | Tensor) -> Tensor:
        """See `ChangedWeight.of`."""
        added = self._added(base, rows)
        if self._change.magnitude is None:
            return added
        if self._change.is_embedding:
            return added * self._column_factor
        magnitude = self._change.magnitude[rows].float()
        sizes: Tensor = torch.linalg.vector_norm(added, dim=1)
        return added * (magnitude / sizes)[:, None]

    def _added(self, base: Tensor, rows: slice | Tensor) -> Tensor:
        product = self._a[:, rows].T @ self._b.T if self._change.is_embedding else self._b[rows] @ self._a
        # In place: memory that is taken anew costs more than all of the arithmetic.
        return product.mul_(self._change.scaling).add_(base)

    @cached_property
    def _column_factor(self) -> Tensor:
        assert self._change.magnitude is not None
        squares = sum(
            self._added(self._weight[rows].float(), rows).square().sum(0)
            for rows in row_slices(self._weight.shape)
        )
        return self._change.magnitude.float() / torch.as_tensor(squares).sqrt()


class ReplacedWeight:
    """A weight that full fine-tuning put in the base's place, as its checkpoint has it."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    def of(self, _base: Tensor, rows: slice | Tensor) -> Tensor:
        """See `ChangedWeight.of`."""
        return self._weight[rows]


def changed_weight(source: Adapter | FullWeights, name: str, weight: Weight) -> ChangedWeight | None:
    """Return what a checkpoint makes of the base's weight of this name, or None where it changes nothing."""
    if isinstance(source, FullWeights):
        return ReplacedWeight(source.tensors[name]) if name in source.tensors else None
    change = source.modules.get(name.removesuffix(".weight"))
    return AdaptedWeight(weight, change) if change is not None else None
