"""What the economies of the training loss save: peak memory and time of a step, with and without each.

Layers of S1-mini's true sizes (4 slow ones instead of 28, all 4 fast ones, vocabulary 155,776) with random
weights in float32 on the CPU; LoRA r_16_alpha_16; a micro-batch of 1,024 columns of which half are
supervised. Every row runs in a process of its own and includes what the rows above it save; peaks are the
process's largest resident size less what it had before the step. Times are CPU seconds of one thread, so that
what else the machine does hardly counts.

    python benchmarks/loss_savings.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from fishtune.core.config.presets import lora_preset, model_preset
from fishtune.core.lora.injection import add_adapters, trainable_parameters
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.stages.train.loss import loss_sums
from fishtune.core.text.prompts import IGNORED
from torch import Tensor
from torch.nn import functional as F

ROWS, COLUMNS, SUPERVISED = 2, 512, 256
SEMANTIC_BEGIN = 151_678
STEPS = 3
VARIANTS = {
    "plain": "nothing saved: mask, repeated keys, all logits at once",
    "attention": "causal without a mask, keys not repeated",
    "logits": "token logits at supervised positions, all logits in chunks",
    "checkpointing": "blocks recomputed (--checkpointing blocks)",
}


def make_model() -> DualAR:
    """Return the model with random weights and adapters."""
    config = S1().read_shape({**model_preset("openaudio-s1-mini").config, "n_layer": 4}, "config.json")
    torch.manual_seed(0)
    model = DualAR(config, SEMANTIC_BEGIN, SEMANTIC_BEGIN + config.codebook_size - 1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.fill_(1.0)
            else:
                weight.normal_(0, 0.02)
    add_adapters(model, lora_preset("r_16_alpha_16"), seed=1)
    return model.train()


def make_batch(model: DualAR) -> tuple[Tensor, Tensor]:
    """Return inputs and labels: a prompt of text and reference codes, then a supervised target."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 1024, (ROWS, model.config.num_codebooks, COLUMNS + 1), generator=generator)
    tokens = torch.cat([codes[:, :1] + SEMANTIC_BEGIN, codes], dim=1)
    labels = tokens[..., 1:].clone()
    labels[..., : COLUMNS - SUPERVISED] = IGNORED
    return tokens[..., :-1], labels


def plain_loss(model: DualAR, tokens: Tensor, labels: Tensor) -> Tensor:
    """Return the loss as formats.md writes it down: logits everywhere, all at once."""
    hidden = model.slow(tokens)
    logits = model.token_logits(hidden).float()
    base = F.cross_entropy(logits.flatten(0, 1), labels[:, 0].flatten(), ignore_index=IGNORED)
    semantic = model.is_semantic(labels[:, 0])
    codes = labels[:, 1:].transpose(1, 2)[semantic]
    codebooks = model.fast_logits(model.fast_input(hidden[semantic]), codes).float()
    return base + F.cross_entropy(codebooks.flatten(0, 1), codes.flatten())


def thrifty_loss(model: DualAR, tokens: Tensor, labels: Tensor) -> Tensor:
    """Return the same by `training.loss`."""
    sums = loss_sums(model, tokens, labels)
    return sums.base / sums.supervised + sums.semantic / sums.codes


def masked_attention(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return an attention that repeats keys and takes an explicit mask."""

    def attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        if options.get("is_causal") and q.shape[2] > 1:
            mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
            repeats = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
            return plain(q, k, v, attn_mask=mask)
        return plain(q, k, v, **options)

    return attend


def measure(variant: str) -> dict[str, Any]:
    """Return peak, time and numbers of one variant."""
    torch.set_num_threads(1)
    level = list(VARIANTS).index(variant)
    if level < 1:
        F.scaled_dot_product_attention = masked_attention(F.scaled_dot_product_attention)
    model = make_model()
    model.checkpointing = "blocks" if level >= 3 else "none"
    compute = thrifty_loss if level >= 2 else plain_loss
    tokens, labels = make_batch(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(STEPS):
        model.zero_grad()
        torch.manual_seed(2)  # the dropout of the adapters
        began = time.process_time()
        loss = compute(model, tokens, labels)
        loss.backward()
        times.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gradients = [parameter.grad for parameter in trainable_parameters(model).values()]
    norm = float(torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm())
    return {
        "peak_mib": (peak - before) / 1024,
        "seconds": min(times),
        "loss": loss.item(),
        "gradient_norm": norm,
    }


def main() -> None:
    """Measure every variant in a process of its own and print a table."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    print(f"{'':14} {'peak of a step':>14} {'time':>7}  {'loss':>10} {'gradient':>9}")
    for variant, words in VARIANTS.items():
        done = subprocess.run([sys.executable, __file__, variant], capture_output=True, text=True, check=True)
        row = json.loads(done.stdout)
        print(
            f"{variant:14} {row['peak_mib']:10.0f} MiB {row['seconds']:5.1f} s  {row['loss']:10.6f} "
            f"{row['gradient_norm']:9.6f}  {words}",
            flush=True,
        )


if __name__ == "__main__":
    main()
