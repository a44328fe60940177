"""A training step against the plain computation: CPU seconds, memory, and an account for a GPU.

    python benchmarks/training_step.py [--layers 28] [--steps 2]
    python benchmarks/training_step.py --account [--s2 CONFIG_JSON]

The first trains S1-mini's true shape (random weights, float32, r_8_alpha_16) on 2 x 512 columns, half of
them supervised, by turns with the layers, adapters and loss of fishtune and with plain ones, on the same
weights in one process and one thread: what else the machine does meets both. Peaks are resident memory above
the weights. Plain is torch's own autograd of the same formulas, `peft`'s own forward, and logits in chunks
that the backward pass computes again.

The second counts, without a GPU, what torch would allocate on one in bfloat16: what the slow transformer
keeps of a token, and the peak of an optimizer step.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch
from fishtune.core.compute import layers
from fishtune.core.config.presets import lora_preset, model_preset
from fishtune.core.lora.injection import add_adapters
from fishtune.core.lora.linear import AdaptedLinear
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.shape import Shape
from fishtune.core.stages.train.loss import LOGITS_PER_CHUNK, loss_sums
from fishtune.core.text.prompts import IGNORED
from measures import Measure, show
from peft.tuners import lora
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

ROWS, COLUMNS, SUPERVISED = 2, 512, 256
SEMANTIC_BEGIN = 151_678
GIB = 1 << 30


def make_model(config: Shape) -> DualAR:
    """Return the model with random weights and adapters that already change something."""
    torch.manual_seed(0)
    model = DualAR(config, SEMANTIC_BEGIN, SEMANTIC_BEGIN + config.codebook_size - 1)
    add_adapters(model, lora_preset("r_8_alpha_16"), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.fill_(1.0)
            else:
                weight.normal_(0, 0.02)
    return model.train()


def make_batch(config: Shape) -> tuple[Tensor, Tensor]:
    """Return inputs and labels: a prompt of text and reference codes, then a supervised target."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 1024, (ROWS, config.num_codebooks, COLUMNS + 1), generator=generator)
    tokens = torch.cat([codes[:, :1] + SEMANTIC_BEGIN, codes], dim=1)
    labels = tokens[..., 1:].clone()
    labels[..., : COLUMNS - SUPERVISED] = IGNORED
    return tokens[..., :-1], labels


def plain_rms_norm(x: Tensor, weight: Tensor, eps: float, *, weight_in_float32: bool = False) -> Tensor:
    """Return formats.md's norm."""
    wide = x.float()
    normalised = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (normalised * weight).type_as(x) if weight_in_float32 else normalised.type_as(x) * weight


def plain_rotary(x: Tensor, table: Tensor) -> Tensor:
    """Return formats.md's turn of interleaved pairs."""
    pairs = x.float().view(*x.shape[:-1], -1, 2)
    cos, sin = table.float()[:, None].unbind(-1)
    even, odd = pairs.unbind(-1)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2).type_as(x)


def plain_loss(model: DualAR, tokens: Tensor, labels: Tensor) -> Tensor:
    """Return the loss with the fast transformer over all frames at once and logits computed twice."""
    hidden = model.slow(tokens)
    supervised, semantic = labels[:, 0] != IGNORED, model.is_semantic(labels[:, 0])
    codes = labels[:, 1:].transpose(1, 2)[semantic]
    earlier = model.fast_embeddings(codes[:, :-1])
    frames = torch.cat([model.fast_input(hidden[semantic])[:, None], earlier], dim=1)
    for block in model.fast_layers:
        frames = block(frames, model.fast_rotary)
    base = _chunked(model.token_logits, hidden[supervised], labels[:, 0][supervised])
    return base / supervised.sum() + (
        _chunked(model.codebook_logits, frames.flatten(0, 1), codes.flatten()) / codes.numel()
    )


def _chunked(head: Callable[[Tensor], Tensor], hidden: Tensor, labels: Tensor) -> Tensor:
    def summed(rows: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(head(rows).float(), wanted, reduction="sum")

    size = LOGITS_PER_CHUNK // head(hidden[:0]).shape[-1]
    parts = zip(hidden.split(size), labels.split(size), strict=True)
    return torch.stack([checkpoint(summed, *part, use_reentrant=False) for part in parts]).sum()


def lean_loss(model: DualAR, tokens: Tensor, labels: Tensor) -> Tensor:
    """Return the same by fishtune's training."""
    sums = loss_sums(model, tokens, labels)
    return sums.base / sums.supervised + sums.semantic / sums.codes


@contextmanager
def plain_layers() -> Iterator[None]:
    """Let the model's layers be plain ones."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(layers, "rms_norm", plain_rms_norm))
        stack.enter_context(mock.patch.object(layers, "apply_rotary", plain_rotary))
        stack.enter_context(mock.patch.object(layers, "swiglu", lambda gate, up: F.silu(gate) * up))
        stack.enter_context(mock.patch.object(AdaptedLinear, "forward", lora.Linear.forward))
        yield


def resident(kind: str) -> int:
    """Return this process's resident memory (`VmRSS`) or its peak (`VmHWM`), bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel does not say {kind}")


def run_step(
    model: DualAR, batch: tuple[Tensor, Tensor], loss_of: Callable[..., Tensor]
) -> tuple[float, float, float]:
    """Return CPU seconds, peak bytes above what was resident, and the loss of a forward and backward pass."""
    model.zero_grad()
    torch.manual_seed(2)  # the dropout of the adapters
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what the step before left in the heap is no part of this one
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = resident("VmRSS"), time.process_time()
    loss = loss_of(model, *batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return time.process_time() - began, resident("VmHWM") - before, loss.item()


def measures(_: Path, layers_kept: int = 28, steps: int = 2) -> Iterator[Measure]:
    """Measure steps of both by turns."""
    torch.set_num_threads(1)
    config = S1().read_shape(
        {**model_preset("openaudio-s1-mini").config, "n_layer": layers_kept}, "config.json"
    )
    model, batch = make_model(config), make_batch(config)
    plain, lean = [], []
    for _ in range(steps):
        with plain_layers():
            plain.append(run_step(model, batch, plain_loss))
        lean.append(run_step(model, batch, lean_loss))
    (slow, high), (fast, low) = (
        (min(value[0] for value in values), max(value[1] for value in values)) for values in (plain, lean)
    )
    yield Measure("plain step (CPU)", slow, "s")
    yield Measure("step of fishtune (CPU)", fast, "s")
    yield Measure("speed of fishtune's step in that of the plain one (CPU)", slow / fast, "×", at_least=1.25)
    yield Measure("its memory above the weights in that of the plain one", low / high, "×", at_most=0.5)
    apart = abs(plain[0][2] - lean[0][2]) / plain[0][2]
    yield Measure("losses of the two apart, in millionths (they drop other inputs)", apart * 1e6, "")


def account(s2: Path | None) -> None:
    """Print the table of bytes without a GPU."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.training_memory import peak_of_step, s2_shape

    shapes = {"S1-mini": S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json")}
    if s2 is not None:
        shapes["S2-Pro"] = s2_shape(json.loads(s2.read_text(encoding="utf-8")))
    print("| shape | preset | checkpointing | tokens | MB per token | peak of a step |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, config in shapes.items():
        presets = ("r_16_alpha_16", "r_8_alpha_16") if name == "S1-mini" else ("r_16_alpha_16",)
        for preset in presets:
            for mode in ("none", "selective", "blocks"):
                for tokens in (8192,) if name == "S1-mini" else (4096, 2048):
                    found = peak_of_step(config, lora_preset(preset), mode, tokens)
                    print(
                        f"| {name} | `{preset}` | `{mode}` | {tokens} | {found.kept / tokens / 1e6:.2f} | "
                        f"{found.peak / GIB:.2f} GiB |",
                        flush=True,
                    )


def main() -> None:
    """Compare, or account."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--account", action="store_true")
    parser.add_argument("--s2", type=Path, help="config.json of S2-Pro")
    options = parser.parse_args()
    if options.account:
        account(options.s2)
    else:
        sys.exit(not show("training step", measures(Path(), options.layers, options.steps)))


if __name__ == "__main__":
    main()
