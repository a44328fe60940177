"""Generation at the model's true shape: frames per second of one text, and of eight."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from fishtune.core.codec.config import codec_config
from fishtune.core.config.settings import CODEC_FILE
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.generate import generate
from fishtune.core.units import GIB
from true_size_model import random_prompt

from .bench import Bench
from .running import Row

TEXTS = 8


def generation_speed(bench: Bench) -> Iterator[Row]:
    """Yield frames per second of one text and of eight, after a first text that loads kernels."""
    model = load_model(bench.base, device=bench.device)
    real_time = codec_config(bench.base / CODEC_FILE, "modded_dac_vq").frame_rate
    prompts = [random_prompt(model, bench.sizes.prompt, seed) for seed in range(TEXTS)]
    generate_texts(bench, model, prompts[:1], min(10, bench.sizes.generated))
    for texts in (1, TEXTS):
        bench.synchronise()
        began = time.perf_counter()
        frames = generate_texts(bench, model, prompts[:texts], bench.sizes.generated)
        speed = frames / (time.perf_counter() - began)
        peak = bench.peak_bytes()
        yield {
            "what": "one text" if texts == 1 else f"{texts} texts, one after another",
            "prompt": bench.sizes.prompt,
            "frames": frames,
            "frames/s": speed,
            "× real time": speed / real_time,
            "measured GiB": peak / GIB if peak is not None else None,
            "passed": frames == texts * bench.sizes.generated,
        }


def generate_texts(bench: Bench, model: DualAR, prompts: Sequence[torch.Tensor], frames: int) -> int:
    """Generate `frames` frames after each prompt; return how many came. None of them can end by itself."""
    largest, directory = model.config.codebook_size, ModelDirectory.open(bench.base)
    return sum(
        generate(
            model,
            prompt,
            directory.rule(replace(directory.family.sampling, seed=number)),
            end_id=-1,
            max_new_tokens=frames,
            residual_codebook_size=min(largest, 1024),
        ).codes.shape[1]
        for number, prompt in enumerate(prompts)
    )
