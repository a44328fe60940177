"""One optimizer step of the real model, loss and adapters on tensors without content, accounted by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...config.presets import LoraPreset
from ...config.settings import Checkpointing
from ...hardware.memory.accounting import Accounting, gpu_kernels
from ...hardware.memory.estimate import Part
from ...hardware.memory.profile import Moments
from ...hardware.memory.setups import TrainingBatch, TrainingSetup
from ...lora.injection import add_adapters, train_everything, trainable_parameters
from ...model.checkpoint import quantise
from ...model.dual_ar import DualAR, TransformerBlock
from ...model.recompute import forward_block
from ...model.targets import quantised_modules
from ...text.prompts import IGNORED
from .loss import loss_sums

Measure = Callable[[TrainingBatch], Moments]


def training_accounting(setup: TrainingSetup) -> Measure:
    """Return a function that gives the moments of a step that is not the first, by its micro-batch.

    The step is `run`'s: the same modules, the same loss. AdamW is there with its two moments alone: its fused
    update makes nothing else.

    Raises:
        SettingsError: the targets match nothing.
    """
    model = _build(setup)
    trained: list[Tensor] = [*trainable_parameters(model).values()]
    resident: dict[Part, list[Tensor]] = {
        Part.WEIGHTS: [*model.parameters(), *model.buffers()],
        Part.ADAPTERS: [] if setup.method == "full" else trained,  # no longer weights of the model's own
        Part.OPTIMIZER: [torch.empty_like(weight) for weight in trained for _ in range(2)],
    }
    autocast = setup.method == "full" and setup.precision == "bf16"

    def measure(batch: TrainingBatch) -> Moments:
        for weight in trained:
            weight.grad = torch.empty_like(weight) if setup.accumulated else None
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        accounting = Accounting(resident | {Part.GRADIENTS: gradients})
        del gradients
        kernels = gpu_kernels(autocast=autocast, copies_stay=not setup.compiled)
        with kernels, _phases(model, accounting), accounting:
            _step(model, batch)
        for weight in trained:
            weight.grad = None
        return accounting.moments

    return measure


def _build(setup: TrainingSetup) -> DualAR:
    """Return the model as `run` prepares it, on the meta device."""
    with torch.device("meta"):
        model = DualAR(setup.config, 0, setup.config.codebook_size - 1)
    if setup.method == "full":
        train_everything(model)
    else:
        model.to(torch.bfloat16 if setup.precision == "bf16" else torch.float32)
        if setup.base_precision is not None:
            for name in quantised_modules(name for name, _ in model.named_modules()):
                quantise(model, name, setup.base_precision)
        preset = LoraPreset(
            description="",
            rank=setup.rank,
            alpha=setup.rank,
            dropout=0.01 if setup.dropout else 0.0,
            targets=list(setup.targets),
            use_dora=setup.dora,
        )
        add_adapters(model, preset, seed=0)
    model.to("meta")  # its tables are made on the CPU
    model.checkpointing = setup.checkpointing
    if setup.compiled:
        model.training_block = _run_like_compiled
    return model.train()


def _run_like_compiled(block: nn.Module, x: Tensor, rotary: Tensor, _mode: Checkpointing) -> Tensor:
    """Run a block whose kernels make what is cheap as they read it, which is therefore not kept.

    Kept are its input, what products and attention give, and turned queries and keys. So says the code that
    torch 2.11 makes of a block (`compilation.py` tells it to): 35 kB a token of S1-mini where 45 are kept
    without it. While a block's gradients are computed, all of it is there.
    """
    output = checkpoint(forward_block, block, x, rotary, use_reentrant=False)
    with torch.no_grad():
        kept = x.new_empty(*x.shape[:-1], _kept_numbers(cast(TransformerBlock, block)), dtype=torch.bfloat16)
    return cast(Tensor, _Keeping.apply(output, kept))


def _kept_numbers(block: TransformerBlock) -> int:
    attention = block.attention
    queries = attention.n_head * attention.head_dim
    keys = attention.n_local_heads * attention.head_dim
    products = (queries + 2 * keys) + attention.wo.out_features + 2 * block.feed_forward.w1.out_features
    return products + (queries + keys) + queries


class _Keeping(torch.autograd.Function):
    """Keeps a tensor until the backward pass comes by."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor) -> Tensor:
        ctx.save_for_backward(kept)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004 - the interface's
        return gradient, None


def _step(model: DualAR, batch: TrainingBatch) -> None:
    rows = max(1, batch.tokens // batch.longest)
    shape = rows, model.config.num_codebooks + 1, batch.longest
    tokens = torch.empty(shape, dtype=torch.int64, device="meta")
    # Labels have content: how many frames are learnt decides what comes into being.
    columns = torch.arange(rows * batch.longest).view(rows, 1, batch.longest).expand(shape)
    labels = torch.where(columns < batch.frames, model.semantic_begin_id, IGNORED)
    sums = loss_sums(model, tokens, labels)
    loss = (sums.base + sums.semantic) / sums.supervised
    del sums, tokens
    loss.backward()  # type: ignore[no-untyped-call]


@contextmanager
def _phases(model: DualAR, accounting: Accounting) -> Iterator[None]:
    """Tell the accounting which part of the step is at work.

    Forward: each of the model's methods that the loss calls begins a phase. Backward: the fast stack is at
    work once the gradient of its result is there, the slow one once that of its own is.
    """

    def begins(name: str, phase: Part, backward: Part | None) -> None:
        method = getattr(model, name)

        def entered(*arguments: Any, **keywords: Any) -> Tensor:
            accounting.enter(phase)
            result: Tensor = method(*arguments, **keywords)
            if backward is not None and result.requires_grad:
                result.register_hook(lambda _gradient: accounting.enter(backward))  # type: ignore[no-untyped-call]
            return result

        setattr(model, name, entered)

    def is_gradient(weight: Tensor) -> None:
        assert weight.grad is not None
        accounting.count(weight.grad, Part.GRADIENTS)

    hooks = [
        weight.register_post_accumulate_grad_hook(is_gradient)  # type: ignore[no-untyped-call]
        for weight in model.parameters()
        if weight.requires_grad
    ]
    begins("slow", Part.ACTIVATIONS, backward=Part.WORKING)
    begins("fast_logits", Part.FAST, backward=Part.FAST)
    for name in ("token_logits", "codebook_logits"):
        begins(name, Part.LOGITS, backward=None)
    try:
        yield
    finally:
        for name in ("slow", "fast_logits", "token_logits", "codebook_logits"):
            delattr(model, name)
        for hook in hooks:
            hook.remove()
