"""Blocks compiled by torch, where that works: several small kernels become one.

The compiler needs a C compiler and Triton, and fails in many ways. So it is tried before anything is at
stake, on a short input in each stack, and must give what the blocks give uncompiled.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn

from ...compute.devices import can_compile
from ...compute.exact import CrossEntropy, cross_entropy
from ...config.settings import Checkpointing
from ...events import Reporter
from ...model.dual_ar import DualAR
from ...model.recompute import BlockForward, BlockRunner, forward_block, run_block

DEVICES = ("cuda",)
"""Kinds of device whose blocks are compiled. On a CPU compiling takes longer than it saves."""
BACKEND = "inductor"
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Of the largest number of an output or gradient."""
_SHIFT = 0.02
"""By which a trial shifts what is trained, times numbers of variance 1."""
_VARIANTS = 64
"""Compiled forms at most: of both stacks, with and without adapters, for one row and for more."""
_ROWS, _COLUMNS = 3, 23
"""Of the trial; no other size of anything, or the compiler would take them for one and compile again."""


def expects_compiling(device: torch.device) -> bool:
    """Return whether `compile_blocks` probably works on a device, before it is tried."""
    return device.type in DEVICES and can_compile()


def compile_blocks(
    model: DualAR, arithmetic: AbstractContextManager[object], precision: torch.dtype, reporter: Reporter
) -> bool:
    """Let training run the model's blocks compiled, or leave them as they are and say why in the log.

    Returns whether they are compiled. The model is in training mode.

    Args:
        arithmetic: entered around the model's computations; can be entered again.
        precision: in which matrices are multiplied.
    """
    device = model.norm.weight.device
    if device.type not in DEVICES:
        return False
    import torch._dynamo  # takes a second
    import torch._functorch.config
    import torch._inductor.config

    # Shapes are those of the batches; compiled for one shape first, results would depend on which came first.
    compiled = _compiled(model.checkpointing, model.config.num_codebooks)
    compiled_loss = cast(CrossEntropy, torch.compile(cross_entropy, dynamic=True, backend=BACKEND))
    with contextlib.ExitStack() as options:
        _set_options(options)
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                _check_agreement(model, compiled, compiled_loss, arithmetic, _TOLERANCE[precision])
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the compiler's errors have no base in common
            reporter.log(
                "The model's blocks are not compiled, and training is slower but gives the same results: "
                f"torch.compile does not work here ({_reason(error)})."
            )
            return False
        options.pop_all()  # they stay
    torch._dynamo.config.suppress_errors = True  # a form that fails later runs as it is, and is logged
    model.training_block, model.training_cross_entropy = compiled, compiled_loss
    return True


def _set_options(before: contextlib.ExitStack) -> None:
    """Set torch's options for compiling; `before` gets what they were, and sets them so again."""
    dynamo, inductor = torch._dynamo.config, torch._inductor.config
    # Scalings and probabilities never change.
    before.enter_context(
        dynamo.patch(recompile_limit=_VARIANTS, suppress_errors=False, specialize_float=True)
    )
    # What kernels make anew as they read it is not kept: copies of weights, masked inputs.
    before.enter_context(
        torch._functorch.config.patch(
            ban_recompute_used_far_apart=False,
            ban_recompute_long_fusible_chains=False,
            ban_recompute_materialized_backward=False,
        )
    )
    # Random numbers are drawn once, as uncompiled, not again by every kernel that reads them.
    before.enter_context(inductor.patch(fallback_random=True))
    # cuDNN plans its attention for every shape that is new, for a tenth of a second; batches differ in shape.
    had_cudnn: bool = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    before.callback(torch.backends.cuda.enable_cudnn_sdp, had_cudnn)
    torch.backends.cuda.enable_cudnn_sdp(False)
    # Nothing that anybody could act on, and it would end in the log.
    before.enter_context(warnings.catch_warnings())
    warnings.filterwarnings("ignore", message=r"\s*Online softmax is disabled")


def _compiled(mode: Checkpointing, codes: int) -> BlockRunner:
    """Return `run_block` compiled.

    What a checkpoint of a whole block computes again is the compiled block; only one that keeps single
    products has to be compiled with it.

    Args:
        codes: of a frame: columns that the fast stack always has, and that its kernels may rely on.
    """
    if mode == "selective":
        run = cast(BlockRunner, torch.compile(run_block, dynamic=True, backend=BACKEND))
    else:
        forward = cast(BlockForward, torch.compile(forward_block, dynamic=True, backend=BACKEND))
        run = functools.partial(run_block, forward=forward)

    def run_compiled(block: nn.Module, x: Tensor, rotary: Tensor, mode: Checkpointing) -> Tensor:
        if x.shape[1] == codes:
            torch._dynamo.mark_static(x, 1)
        return run(block, x, rotary, mode)

    return run_compiled


def _reason(error: BaseException) -> str:
    """Return the first line of what went wrong; the compiler wraps what its backend raised."""
    error = getattr(error, "inner_exception", error)
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_agreement(
    model: DualAR,
    compiled: BlockRunner,
    compiled_loss: CrossEntropy,
    arithmetic: AbstractContextManager[object],
    tolerance: float,
) -> None:
    """Raise where compiled blocks, dropout included, or the loss compute something else than uncompiled."""
    for blocks, rotary, dim in (
        (model.layers, model.rotary, model.config.dim),
        (model.fast_layers, model.fast_rotary, model.config.fast_dim),
    ):
        block = copy.deepcopy(blocks[0])
        weights = [weight for weight in block.parameters() if weight.requires_grad]
        rotary = rotary[:_COLUMNS]
        x = torch.randn(_ROWS, len(rotary), dim, device=rotary.device).type_as(model.norm.weight)
        with torch.no_grad():
            for weight in weights:  # adapters that begin change nothing, and half of them gets no gradient
                weight.add_(torch.randn_like(weight), alpha=_SHIFT)
        found, expected = (
            _output_and_gradients(model, run, block, x, rotary, arithmetic, weights)
            for run in (compiled, run_block)
        )
        _compare(found, expected, tolerance)
    logits = torch.randn(_ROWS, _COLUMNS, model.config.codebook_size, device=x.device).type_as(x)
    labels = torch.arange(_ROWS * _COLUMNS, device=x.device) % model.config.codebook_size
    for shape in ((_ROWS, _COLUMNS), (_ROWS * _COLUMNS,)):  # as of codes, and of tokens
        one, other = (
            cast(tuple[Tensor, Tensor], run(logits.view(*shape, -1), labels.view(shape), True))
            for run in (compiled_loss, cross_entropy)
        )
        _compare(one, other, tolerance)


def _compare(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        if not (one - other).abs().max() <= tolerance * other.abs().max():
            raise RuntimeError("compiled blocks give other numbers")


def _output_and_gradients(
    model: DualAR,
    run: BlockRunner,
    block: nn.Module,
    x: Tensor,
    rotary: Tensor,
    arithmetic: AbstractContextManager[object],
    weights: Sequence[Tensor],
) -> list[Tensor]:
    x = x.detach().requires_grad_()
    torch.manual_seed(0)
    with arithmetic:
        output = run(block, x, rotary, model.checkpointing)
    return [output.detach(), *torch.autograd.grad(output.square().sum(), [x, *weights])]
