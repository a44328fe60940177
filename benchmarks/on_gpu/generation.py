"""Generation at the model's true shape: frames per second of one text, and of eight at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from unittest import mock

from fishtune.core.codec.config import codec_config
from fishtune.core.config.settings import CODEC_FILE
from fishtune.core.model import recording
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.generate import Request, generate_all
from fishtune.core.units import GIB
from generation import TEXTS, prompts_of
from torch import Tensor

from .bench import Bench
from .running import Row


def generation_speed(bench: Bench) -> Iterator[Row]:
    """Yield frames per second of one text and of eight at once, with CUDA graphs and without them.

    In all, reading the prompts and recording the graphs included, and once these are done: after ten frames.
    """
    model = load_model(bench.base, device=bench.device)
    real_time = codec_config(bench.base / CODEC_FILE, "modded_dac_vq").frame_rate
    prompts = prompts_of(model, TEXTS, bench.sizes.prompt)
    generate_texts(bench, model, prompts[:1], min(10, bench.sizes.generated), [])  # loads kernels
    for texts in (1, TEXTS):
        for graphs in (True, False) if bench.device != "cpu" else (False,):
            said: list[str] = []
            bench.synchronise()
            with nullcontext() if graphs else mock.patch.object(recording, "DEVICES", ()):
                began = time.perf_counter()
                moments = generate_texts(bench, model, prompts[:texts], bench.sizes.generated, said)
            frames = len(moments)
            steps = moments[texts - 1 :: texts]  # each gives a frame to every text
            settled = min(10, len(steps) - 2)
            speed = texts * (len(steps) - 1 - settled) / (steps[-1] - steps[settled])
            peak = bench.peak_bytes()
            row = {
                "what": "one text" if texts == 1 else f"{texts} texts at once",
                "CUDA graphs": "failed" if said else "yes" if graphs else "no",
                "prompt": bench.sizes.prompt,
                "frames": frames,
                "frames/s in all": frames / (moments[-1] - began),
                "frames/s": speed,
                "× real time": speed / real_time,
                "measured GiB": peak / GIB if peak is not None else None,
                "passed": frames == texts * bench.sizes.generated and not said,
            }
            yield row | ({"note": said[0]} if said else {})


def generate_texts(
    bench: Bench, model: DualAR, prompts: Sequence[Tensor], frames: int, said: list[str]
) -> list[float]:
    """Generate `frames` frames after each prompt, all at once; return the moment of each, in seconds.

    None of them can end by itself.

    Args:
        said: gets what generation has to say.
    """
    largest, directory = model.config.codebook_size, ModelDirectory.open(bench.base)
    requests = [
        Request(prompt, directory.rule(replace(directory.family.sampling, seed=number)), frames)
        for number, prompt in enumerate(prompts)
    ]
    moments: list[float] = []
    generate_all(
        model,
        requests,
        end_id=-1,
        residual_codebook_size=min(largest, 1024),
        rows=len(prompts),
        on_frame=lambda _: moments.append(time.perf_counter()),
        log=said.append,
    )
    return moments
