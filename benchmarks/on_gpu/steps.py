"""Loss and backward pass in a bare loop: what of a training step is the device's work and what the host's.

By ways of compiling, which the training stage has one of: what is faster here and gives the same numbers may
become that one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch
import torch._inductor.config
from fishtune.core.config.presets import lora_preset
from fishtune.core.events import Reporter
from fishtune.core.lora.injection import add_adapters, train_everything
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.stages.train.batches import Batch
from fishtune.core.stages.train.compilation import compile_blocks
from fishtune.core.stages.train.data import load_data
from fishtune.core.stages.train.loss import loss_sums
from fishtune.core.stages.train.sampler import largest_of
from fishtune.core.units import GIB

from .bench import Bench
from .cards import device_name
from .flops import peak_of, step_flops
from .running import Row
from .training import Watch, settings_of, step_work

_TIMES = (1, 4)
"""How many micro-batches are one."""


def _python() -> None:
    """Kernels are launched by Python: as the stage does it."""


def _cpp() -> None:
    """Kernels are launched by C++ that is compiled for each block: a minute more at first."""
    torch._inductor.config.cpp_wrapper = True


def _graphs() -> None:
    """Each compiled piece is recorded as a CUDA graph for each shape."""
    torch._inductor.config.triton.cudagraphs = True


WAYS: dict[str, Callable[[], None]] = {"as the stage": _python, "C++": _cpp, "CUDA graphs": _graphs}


def steps_alone(bench: Bench, preset: str, way: str) -> Iterator[Row]:
    """Yield seconds, the device's own work and memory of a step by a way of compiling."""
    WAYS[way]()
    full = lora_preset(preset).method == "full"
    model = load_model(bench.base, torch.float32 if full else torch.bfloat16, bench.device)
    if full:
        train_everything(model)
    else:
        add_adapters(model, lora_preset(preset), seed=1)
    arithmetic = torch.autocast(bench.device, torch.bfloat16) if full else contextlib.nullcontext()
    watch, began = Watch(), time.perf_counter()
    compiled = compile_blocks(model.train(), arithmetic, torch.bfloat16, watch)
    trial = time.perf_counter() - began
    batch = _batch(bench, preset)
    for times in _TIMES:
        larger = Batch(batch.tokens.repeat(times, 1, 1), batch.labels.repeat(times, 1, 1))
        began = time.perf_counter()
        _step(model, larger, arithmetic)
        bench.synchronise()
        yield {
            "what": f"{way}, {times} ×",
            "compiled": compiled,
            "why not": next((line for line in watch.said if "not compiled" in line), None),
            "s of the trial": trial,
            "s of the first step": time.perf_counter() - began,
            **_measured(bench, preset, times, lambda larger=larger: _step(model, larger, arithmetic)),
        }


def _batch(bench: Bench, preset: str) -> Batch:
    """Return the largest micro-batch of the packed clips."""
    settings = settings_of(bench, "steps", lora_config=preset)
    data = load_data(settings, ModelDirectory.open(bench.base), Reporter())
    largest = largest_of(data.sampler(settings.batch_tokens, 1, settings.seed).epoch(0))
    return data.source.batch(largest).to(torch.device(bench.device))


def _step(model: DualAR, batch: Batch, arithmetic: contextlib.AbstractContextManager[object]) -> None:
    if torch._inductor.config.triton.cudagraphs:
        torch.compiler.cudagraph_mark_step_begin()
    model.zero_grad()
    with arithmetic:
        sums = loss_sums(model, batch.tokens, batch.labels)
        loss = sums.base / sums.supervised + sums.semantic / sums.codes
    loss.backward()  # type: ignore[no-untyped-call]


def _measured(bench: Bench, preset: str, times: int, step: Callable[[], None]) -> Row:
    for _ in range(bench.sizes.warm_up // 2):
        step()
    bench.synchronise()
    if bench.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    steps = bench.sizes.steps - bench.sizes.warm_up
    began = time.perf_counter()
    for _ in range(steps):
        step()
    host = (time.perf_counter() - began) / steps
    bench.synchronise()
    seconds = (time.perf_counter() - began) / steps
    work = step_work(bench)
    config = ModelDirectory.open(bench.base).shape
    flops, peak = times * step_flops(config, lora_preset(preset), work), peak_of(device_name(bench))
    allocated = bench.allocated_bytes()
    return {
        "ms per step": seconds * 1000,
        "ms of the host": host * 1000,
        **_kernels(bench, step),
        "tokens/s": times * sum(work.lengths) / seconds,
        "MFU": flops / seconds / peak if peak else None,
        "peak GiB": None if allocated is None else allocated / GIB,
    }


def _kernels(bench: Bench, step: Callable[[], None]) -> Row:
    """Return how many kernels a step has and how long they take together."""
    if bench.device == "cpu":
        return {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        bench.synchronise()
    kernels = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    longest = sorted(profile.key_averages(), key=lambda each: -each.self_device_time_total)[:40]
    for each in longest:  # into the log
        print(f"{each.self_device_time_total / 1000:8.2f} ms {each.count:6} {each.key[:120]}")
    return {
        "ms of kernels": sum(event.self_device_time_total for event in kernels) / 1000,
        "kernels": len(kernels),
    }
