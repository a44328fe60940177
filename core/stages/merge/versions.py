"""The versions of weights that a merge is about, row by row; whatever passes is checked on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...compute.quantised import matrix, quantised
from ...compute.threads import computing_threads
from ...compute.weights import refuse_not_finite
from ...config.settings import BasePrecision
from ...errors import CheckpointError
from ...events import ProgressMeter, Reporter
from ...lora.adapted import ChangedWeight, changed_weight
from ...lora.files import Adapter, FullWeights
from ...messages import Message
from ...model.containers.container import StoredRows, WeightsReader, row_slices
from ...model.directory import ModelDirectory
from ...model.targets import quantised_modules

_STOPPED = Message("Nothing was written.")
_Used = TypeVar("_Used")
_CHECK_THE_DISK = Message("Nothing was written. Check the disk; if it is sound, please report this.")


@dataclass(frozen=True, slots=True)
class Rows:
    """The same rows of all versions of a weight, float32; one tensor where they are the same."""

    base: Tensor
    changed: Tensor
    """As the checkpoint has it: merged, before rounding."""
    stored: Tensor
    """As the merged directory has it."""
    quantised: Tensor
    """The base's, as training had it."""

    @classmethod
    def unchanged(cls, base: Tensor, quantised: Tensor | None = None) -> Rows:
        """Return rows that the checkpoint does not change."""
        return cls(base, base, base, base if quantised is None else quantised)

    @property
    def are_quantised(self) -> bool:
        """Whether training had this weight in fewer bits than the base has it."""
        return self.quantised is not self.base

    @property
    def are_changed(self) -> bool:
        """Whether the checkpoint changes this weight."""
        return self.changed is not self.base


class Versions:
    """Reads the weights of base and merged directory, never more than a piece at a time. Use as a context.

    Args:
        precision: in what training had the base, where its layers are to be had so, too.
        device: where they are quantised.

    Raises:
        CheckpointError: the merged weights cannot be read back.
    """

    def __init__(
        self,
        base: ModelDirectory,
        merged: Path,
        source: Adapter | FullWeights,
        precision: BasePrecision | None,
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self._precision, self._device = precision, device
        self._reporter = reporter
        self._path = base.container.path
        self._closing = ExitStack()
        try:
            readers = WeightsReader(base.container), WeightsReader(base.container.of(merged))
        except CheckpointError as error:
            raise CheckpointError(
                "The merged weights were not stored as computed: the file cannot be read back.",
                _CHECK_THE_DISK,
            ) from error
        names = base.family.stored_names(base.container.locations)
        self._base, self._stored = (
            {name: StoredRows(reader, parts) for name, parts in names.items()}
            for reader in map(self._closing.enter_context, readers)
        )
        self._changes: dict[str, ChangedWeight] = {
            name: change
            for name, rows in self._base.items()
            if (change := changed_weight(source, name, rows)) is not None
        }
        modules = (name.removesuffix(".weight") for name in names)
        self._few_bits = {f"{name}.weight" for name in quantised_modules(modules)} if precision else set()
        self._unchecked = set(names)
        self._meter = ProgressMeter(reporter, "verifying", len(names), "tensors")
        self._threads = self._closing.enter_context(computing_threads())

    def __enter__(self) -> Versions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def pieces(self, name: str, use: Callable[[Rows], _Used]) -> Iterator[_Used]:
        """Yield what `use` makes of each piece of a weight, in the order of its rows, in several threads.

        Raises:
            CheckpointError: the base holds what is not a number, or what was stored is not, bit for bit, the
                rounded weight.
            StopRequested: asked to stop.
        """
        slices = row_slices(self._base[name].shape)
        yield from self._threads.map(lambda rows: use(self._checked(name, rows)), slices)
        if name in self._unchecked:
            self._unchecked.remove(name)
            self._meter.advance(detail=name)

    def _checked(self, name: str, rows: slice) -> Rows:
        self._reporter.check_stop(_STOPPED)
        base, stored = self._base[name][rows], self._stored[name][rows]
        wide = base.float()
        refuse_not_finite([(name, wide)], self._path)
        changed = self._changes[name].of(wide, rows) if name in self._changes else None
        if not _same_bits(stored, base if changed is None else changed.to(stored.dtype)):
            raise CheckpointError(
                "The merged weights were not stored as computed: {name} differs.", _CHECK_THE_DISK, name=name
            )
        quantised = self._quantised(name, wide)
        if changed is None:
            return Rows.unchanged(wide, quantised)
        return Rows(wide, changed.float(), stored.float(), quantised)

    def _quantised(self, name: str, base: Tensor) -> Tensor:
        """Return what training computed with in place of the base's rows, float32."""
        if self._precision is None or name not in self._few_bits:
            return base
        return matrix(
            *quantised(base.to(self._device), self._precision), columns=base.shape[1], dtype=torch.float32
        )

    def rows(self, name: str, numbers: Tensor) -> Rows:
        """Return some rows (N) of an embedding, unchecked."""
        base = self._base[name][numbers].float()
        if name not in self._changes:
            return Rows.unchanged(base)
        changed = self._changes[name].of(base, numbers).float()
        return Rows(base, changed, self._stored[name][numbers].float(), base)

    def whole(self, name: str) -> Rows:
        """Return all of a small weight, which is never quantised. Raises as `pieces`."""
        pieces = list(self.pieces(name, lambda rows: rows))
        if not pieces[0].are_changed:
            return Rows.unchanged(torch.cat([piece.base for piece in pieces]))
        base, changed, stored = (
            torch.cat([getattr(piece, part) for piece in pieces]) for part in ("base", "changed", "stored")
        )
        return Rows(base, changed, stored, base)

    def check_rest(self) -> None:
        """Check the weights that nobody has asked for. Raises as `pieces`."""
        for name in sorted(self._unchecked):
            for _ in self.pieces(name, lambda _: None):
                pass


def _same_bits(one: Tensor, other: Tensor) -> bool:
    # By numpy, which is three times as fast here.
    return np.array_equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> npt.NDArray[np.int16]:
    return tensor.contiguous().view(torch.int16).numpy()
