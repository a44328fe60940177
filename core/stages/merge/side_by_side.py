"""A model that computes with several versions of its weights at once, in one pass over them.

The model's own forward runs, on a batch in which every version has an equal part of the first dimension;
only the layers that have weights are replaced. So there is no second copy of the arithmetic, each piece of a
weight is read and brought to float32 once, and no weight is ever in memory as a whole.

`V` versions, `N` rows of a version, `I` and `O` channels in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ...compute.layers import RMSNorm
from ...config.settings import BasePrecision
from ...lora.files import Adapter, FullWeights, ModuleAdapter
from ...model.dual_ar import DualAR
from ...model.targets import WORD_EMBEDDING
from .versions import Rows, Versions

_Trained = Callable[[Tensor, Tensor], Tensor]
"""What training computes for an input of a layer, given what the base's layer computes for it."""


TrainedParts = Sequence[tuple[Adapter, float]]
"""Adapters that `peft` adds up, each with its share."""


def trained_parts(
    source: Adapter | FullWeights, sources: Sequence[Adapter | FullWeights], strength: float
) -> TrainedParts:
    """Return what `peft` is to add up for `source`, the mean of `sources` at a strength.

    It knows nothing of how they became one. DoRA is not a sum: there `source` is taken as it is.
    """
    if isinstance(source, Adapter) and source.use_dora:
        return [(source, 1.0)]
    return [(part, strength / len(sources)) for part in sources if isinstance(part, Adapter) and strength]


@dataclass(frozen=True)
class Order:
    """Which part of the batch computes with what."""

    count: int
    base: slice
    trained: int
    """Base + adapter as training computes them, or the weights of a full fine-tuning."""
    changed: int
    """The weights that `trained` comes to, merged, before rounding."""
    stored: int
    quantised: int | None = None
    """Quantised base + adapter, where training had it so."""

    @classmethod
    def of(cls, source: Adapter | FullWeights, precision: BasePrecision | None) -> Order:
        """Return the order for a checkpoint: an adapter is computed beside the base, which it needs.

        Args:
            precision: in what training had the base, where that is a version, too.
        """
        if not isinstance(source, Adapter):
            return cls(3, base=slice(0, 1), trained=1, changed=1, stored=2)
        if precision is None:
            return cls(4, base=slice(0, 2), trained=1, changed=2, stored=3)
        return cls(5, base=slice(0, 2), trained=1, changed=2, stored=3, quantised=4)

    @property
    def adapted(self) -> tuple[int, ...]:
        """The versions that adapters are part of."""
        return (self.trained,) if self.quantised is None else (self.trained, self.quantised)

    def parts(self, rows: Rows) -> Iterator[tuple[slice, Tensor]]:
        """Yield which versions compute with which of the rows, in the order of the versions."""
        if rows.are_changed:
            yield self.base, rows.base
            yield slice(self.changed, self.changed + 1), rows.changed
            yield slice(self.stored, self.stored + 1), rows.stored
        elif self.quantised is None or not rows.are_quantised:
            yield slice(0, self.count), rows.base
            return
        else:
            yield slice(0, self.quantised), rows.base
        if self.quantised is not None:
            yield slice(self.quantised, self.quantised + 1), rows.quantised


def load_library(source: Adapter | FullWeights) -> None:
    """Import `peft` if `source` needs it, which takes 240 MiB, and seconds that copying takes anyway."""
    if isinstance(source, Adapter):
        import_module("...lora.attach", __package__)


def place_side_by_side(
    model: DualAR,
    versions: Versions,
    order: Order,
    source: Adapter | FullWeights,
    parts: TrainedParts,
    device: torch.device,
) -> None:
    """Replace the layers of the base `model`, in place, by those of all versions.

    Adapters compute through `peft`, as training does.
    """
    leaves = {name: module for name, module in model.named_modules() if list(module.parameters(False))}
    if parts:
        from ...lora.attach import attach_adapter

        for number, (part, share) in enumerate(parts):
            attach_adapter(model, part, str(number), share)
    trained = {
        name: _through_peft(model.get_submodule(name))
        for name in (source.modules if isinstance(source, Adapter) else ())
    }
    for name, module in leaves.items():
        model.set_submodule(name, _leaf(name, module, versions, order, trained.get(name)))
    if model.config.tie_word_embeddings:
        tied = source.modules.get(WORD_EMBEDDING) if isinstance(source, Adapter) else None
        head = _tied_head(tied) if tied is not None else None
        model.output = _Linear(WORD_EMBEDDING, versions, order, trained=head)  # type: ignore[assignment]
    model.to(device)


def _leaf(
    name: str, module: nn.Module, versions: Versions, order: Order, trained: _Trained | None
) -> nn.Module:
    match module:
        case nn.Linear():
            return _Linear(name, versions, order, has_bias=module.bias is not None, trained=trained)
        case nn.Embedding():
            return _Embedding(name, versions, order, trained)
        case RMSNorm():
            return _Norm(name, module, versions, order)
    raise TypeError(f"{name} is a {type(module).__name__}, which has no counterpart here")


def _through_peft(layer: Any) -> _Trained:
    """Return what a layer of `peft` computes; its base's part is given to it."""
    base = layer.get_base_layer()

    def trained(x: Tensor, product: Tensor) -> Tensor:
        # On the CPU, where its weights are: an adapter is small.
        given = product.cpu()
        base.forward = lambda _: given
        computed: Tensor = layer(x.cpu())
        return computed.to(product.device)

    return trained


def _tied_head(change: ModuleAdapter) -> _Trained:
    """Return the head that the embedding's adapter makes: `peft` adapts the embedding as an input only."""
    a, b = change.a.float(), change.b.float()
    return lambda x, product: product + change.scaling * (x @ b.to(x.device)) @ a.to(x.device)


class _Linear(nn.Module):
    def __init__(
        self,
        name: str,
        versions: Versions,
        order: Order,
        *,
        has_bias: bool = False,
        trained: _Trained | None = None,
    ) -> None:
        super().__init__()
        self._name, self._versions, self._order, self._trained = name, versions, order, trained
        self._has_bias = has_bias

    def forward(self, x: Tensor) -> Tensor:
        """Return `(V·N, …, O)` for `(V·N, …, I)`."""
        x_VNI = x.reshape(self._order.count, -1, x.shape[-1])

        def product(rows: Rows) -> Tensor:
            return torch.cat([x_VNI[of] @ weight.to(x.device).T for of, weight in self._order.parts(rows)])

        y_VNO = torch.cat(list(self._versions.pieces(f"{self._name}.weight", product)), dim=-1)
        if self._has_bias:
            for of, bias in self._order.parts(self._versions.whole(f"{self._name}.bias")):
                y_VNO[of] += bias.to(x.device)
        if self._trained is not None:
            for own in self._order.adapted:
                y_VNO[own] = self._trained(x_VNI[own], y_VNO[own].clone())
        return y_VNO.view(*x.shape[:-1], -1)


class _Embedding(nn.Module):
    def __init__(self, name: str, versions: Versions, order: Order, trained: _Trained | None) -> None:
        super().__init__()
        self._name, self._versions, self._order, self._trained = name, versions, order, trained

    def forward(self, ids: Tensor) -> Tensor:
        """Return `(V·N, …, D)` for numbers of rows `(V·N, …)`, which are the same for all versions."""
        own = ids.reshape(self._order.count, -1)[0].cpu()
        rows = self._versions.rows(f"{self._name}.weight", own)
        found_VND = torch.empty(self._order.count, *rows.base.shape)
        for of, part in self._order.parts(rows):
            found_VND[of] = part
        if self._trained is not None:
            computed = self._trained(own, rows.base)
            for version in self._order.adapted:
                found_VND[version] = computed
        return found_VND.to(ids.device).view(*ids.shape, -1)


class _Norm(nn.Module):
    def __init__(self, name: str, norm: RMSNorm, versions: Versions, order: Order) -> None:
        super().__init__()
        parts = list(order.parts(versions.whole(f"{name}.weight")))
        self._parts = [of for of, _ in parts]
        self._norms = nn.ModuleList()
        for _, weight in parts:
            own = deepcopy(norm)
            own.weight = nn.Parameter(weight, requires_grad=False)
            self._norms.append(own)
        self._count = order.count

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised `x` (V·N, …, D)."""
        x_VN = x.reshape(self._count, -1, *x.shape[1:])
        normalised = [norm(x_VN[of]) for norm, of in zip(self._norms, self._parts, strict=True)]
        return torch.cat(normalised).flatten(0, 1)
