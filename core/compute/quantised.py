"""Frozen linear layers whose weights are kept in 8 or 4 bits, and made into a matrix when they are needed.

A weight lies row by row in blocks of 64 numbers, the last of a row filled up, each with a scale in float32:

    int8    scale · i / 127, with i from −127 to 127 (torch's own arithmetic)
    nf4     scale · one of the 16 levels of NormalFloat (QLoRA, section 3), packed by bitsandbytes

The matrix is there for one product and gone: the backward pass makes it again.
`O` and `I` channels out and in, `W` channels in filled up to whole blocks.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config.settings import BasePrecision
from ..errors import UsageError

BLOCK: Final = 64
_LARGEST: Final = 127  # of a signed byte that has a negative


def require(precision: BasePrecision | None) -> None:
    """Refuse a precision whose library is not installed; torch itself does int8.

    Raises:
        UsageError: says how to install it.
    """
    if precision == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        raise UsageError(
            "A base in nf4 needs the package bitsandbytes, which is not installed.",
            'Install it in the same environment: pip install "fishtune[quantised]"; '
            "--base-precision int8 needs nothing.",
        )


def quantised(weight_OI: Tensor, precision: BasePrecision) -> tuple[Tensor, Tensor]:
    """Return a weight in few bits, `(O, W)` int8 or `(O, W/2)` uint8, and its scales `(O, W/64)`, float32.

    Where it lies, and from what it rounds to in float32: the same numbers on every device but for ties.

    Raises:
        UsageError: see `require`.
    """
    require(precision)
    filling = -weight_OI.shape[1] % BLOCK
    if precision == "nf4":
        return _in_nf4(F.pad(weight_OI.detach().float(), (0, filling)))
    rows, filled = weight_OI.shape[0], weight_OI.shape[1] + filling
    # What stays is made first: what goes again then leaves no gaps between one weight and the next.
    packed = weight_OI.new_empty((rows, filled), dtype=torch.int8)
    scales = weight_OI.new_empty((rows, filled // BLOCK), dtype=torch.float32)
    blocks = F.pad(weight_OI.detach().float(), (0, filling)).view(rows, -1, BLOCK)
    torch.linalg.vector_norm(blocks, torch.inf, dim=-1, out=scales)
    # Of a block of zeros, all numbers are 0 whatever they are divided by.
    steps = (scales / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
    packed.view_as(blocks).copy_(blocks.div_(steps[..., None]).round_())
    return packed, scales


def _in_nf4(wide_OW: Tensor) -> tuple[Tensor, Tensor]:
    packed, state = _bitsandbytes().quantize_4bit(
        wide_OW, blocksize=BLOCK, compress_statistics=False, quant_type="nf4"
    )
    return packed.view(len(wide_OW), -1), state.absmax.view(len(wide_OW), -1)


def matrix(packed: Tensor, scales: Tensor, columns: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix `(O, I)` that `quantised` made few bits of.

    Args:
        columns: `I`.
    """
    rows, blocks = scales.shape
    if packed.dtype == torch.uint8:
        library = _bitsandbytes()
        state = library.QuantState(
            absmax=scales.view(-1),
            shape=torch.Size((rows, blocks * BLOCK)),
            dtype=dtype,
            blocksize=BLOCK,
            quant_type="nf4",
        )
        found = cast(Tensor, library.dequantize_4bit(packed.view(-1, 1), state))
    else:
        # The products are computed in float32 and rounded once; only the matrix is made.
        found = packed.view(rows, blocks, BLOCK).to(dtype).mul_((scales / _LARGEST)[..., None]).flatten(1)
    return found[:, :columns]


def _bitsandbytes() -> Any:
    import bitsandbytes.functional  # takes a second

    return bitsandbytes.functional


class QuantisedLinear(nn.Linear):
    """A linear layer that is not trained, its weight in few bits. Computes in the type of its input.

    It is one of torch's for those who look for layers to adapt; nothing else of that is used.

    Attributes:
        precision: which bits these are.
        weight, scales: as `quantised` gives them; no cast of the model changes either.
    """

    def __init__(self, linear: nn.Linear, precision: BasePrecision) -> None:
        nn.Module.__init__(self)  # which makes no weight
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.precision: BasePrecision = precision
        packed, scales = quantised(linear.weight, precision)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.scales = nn.Parameter(scales, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return `(…, O)`."""
        return cast(Tensor, _QuantisedLinear.apply(x, self.weight, self.scales, self.bias))

    def _apply(self, fn: Any, recurse: bool = True) -> QuantisedLinear:
        scales = self.scales.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # Moved with the weight, but never cast: they say how large the numbers are.
        self.scales.data = scales.to(self.weight.device)
        return self


class _QuantisedLinear(torch.autograd.Function):
    """Keeps nothing of its input: no gradient of a frozen weight is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(packed, scales)
        ctx.columns = x.shape[-1]
        return F.linear(x, matrix(packed, scales, ctx.columns, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        packed, scales = ctx.saved_tensors
        return gradient @ matrix(packed, scales, ctx.columns, gradient.dtype), None, None, None
