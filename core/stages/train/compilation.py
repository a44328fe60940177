"""Blocks compiled by torch, where that works: several small kernels become one.

The compiler needs a C compiler and Triton, and fails in many ways. So it is tried before anything is at
stake, on a short input in each stack, and must give what the blocks give uncompiled.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor

from ...events import Reporter
from ...model.dual_ar import DualAR
from ...model.recompute import BlockRunner, run_block

DEVICES = ("cuda",)
"""Kinds of device whose blocks are compiled. On a CPU compiling takes longer than it saves."""
BACKEND = "inductor"
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Of the largest number of an output or gradient."""
_VARIANTS = 64
"""Compiled forms at most: of both stacks, with and without adapters, for one row and for more."""
_ROWS, _COLUMNS = 2, 8


def compile_blocks(
    model: DualAR, arithmetic: AbstractContextManager[object], precision: torch.dtype, reporter: Reporter
) -> None:
    """Let training run the model's blocks compiled, or leave them as they are and say why in the log.

    The model is in training mode, its adapters as they begin: they change nothing yet, so that dropout,
    which is drawn in another order, changes nothing either.

    Args:
        arithmetic: entered around the model's computations; can be entered again.
        precision: in which matrices are multiplied.
    """
    device = model.norm.weight.device
    if device.type not in DEVICES:
        return
    import torch._dynamo  # takes a second

    torch._dynamo.config.recompile_limit = _VARIANTS
    torch._dynamo.config.suppress_errors = False
    # Shapes are those of the batches; compiled for one shape first, results would depend on which came first.
    compiled = cast(BlockRunner, torch.compile(run_block, dynamic=True, backend=BACKEND))
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            _check_agreement(model, compiled, arithmetic, _TOLERANCE[precision])
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the compiler's errors have no base in common
        reporter.log(
            "The model's blocks are not compiled, and training is slower but gives the same results: "
            f"torch.compile does not work here ({_reason(error)})."
        )
        return
    torch._dynamo.config.suppress_errors = True  # a form that fails later runs as it is, and is logged
    model.training_block = compiled


def _reason(error: BaseException) -> str:
    """Return the first line of what went wrong; the compiler wraps what its backend raised."""
    error = getattr(error, "inner_exception", error)
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_agreement(
    model: DualAR, compiled: BlockRunner, arithmetic: AbstractContextManager[object], tolerance: float
) -> None:
    """Raise where compiled blocks compute something else than blocks as they are."""
    for blocks, rotary, dim in (
        (model.layers, model.rotary, model.config.dim),
        (model.fast_layers, model.fast_rotary, model.config.fast_dim),
    ):
        rotary = rotary[:_COLUMNS]
        x = torch.randn(_ROWS, len(rotary), dim, device=rotary.device).type_as(model.norm.weight)
        expected, found = (
            _output_and_gradient(model, run, blocks[0], x, rotary, arithmetic)
            for run in (run_block, compiled)
        )
        for one, other in zip(found, expected, strict=True):
            if not (one - other).abs().max() <= tolerance * other.abs().max():
                raise RuntimeError("compiled blocks give other numbers")


def _output_and_gradient(
    model: DualAR,
    run: BlockRunner,
    block: torch.nn.Module,
    x: Tensor,
    rotary: Tensor,
    arithmetic: AbstractContextManager[object],
) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    with arithmetic:
        output = run(block, x, rotary, model.checkpointing)
    (gradient,) = torch.autograd.grad(output.square().sum(), x)
    return output.detach(), gradient
