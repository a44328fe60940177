"""Time and memory of loading, generating and merging at S1-mini's true shape, with random weights.

    python benchmarks/true_size_model.py WORK_FOLDER [--frames N] [--device cpu]

Makes a checkpoint of 3.6 GB in WORK_FOLDER once, then runs each measurement in a process of its own, whose
peak resident memory the kernel keeps. Pages of a mapped file count as resident while they are mapped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fishtune.core.model.dual_ar import DualAR
    from torch import Tensor

GIB = 1 << 30
STEPS = ("checkpoint", "nothing", "load", "generate", "adapter", "merge", "reload")


def main() -> None:
    """Run all steps, each in its own process, and print what they measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--prompt", type=int, default=200, help="columns of the prompt")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--preset", default="r_8_alpha_16")
    parser.add_argument("--step", choices=STEPS)
    options = parser.parse_args()
    if options.step:
        began = time.monotonic()
        measured = globals()[f"step_{options.step}"](options)
        measured["seconds"] = round(time.monotonic() - began, 2)
        measured["peak_gib"] = round(peak_memory() / GIB, 2)
        print(json.dumps(measured))
        return
    for step in STEPS:
        result = subprocess.run(
            [sys.executable, "-P", __file__, *sys.argv[1:], "--step", step], stdout=subprocess.PIPE, text=True
        )
        print(f"{step:9} {result.stdout.strip() or f'failed with {result.returncode}'}", flush=True)


def peak_memory() -> int:
    """Return this process's peak resident memory, bytes; `ru_maxrss` may be that of before the exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not say VmHWM")


def step_checkpoint(options: argparse.Namespace) -> dict[str, object]:
    """Write the base, unless it is there."""
    from fishtune.core.demo.checkpoint import write_checkpoint

    base = options.folder / "base"
    if not base.exists():
        write_checkpoint(base, shape="s1-mini")
    return {"model_gib": round((base / "model.pth").stat().st_size / GIB, 2)}


def step_nothing(_: argparse.Namespace) -> dict[str, object]:
    """Measure what the libraries alone take."""
    import fishtune.core.stages.merge.run  # noqa: F401

    return {}


def step_load(options: argparse.Namespace) -> dict[str, object]:
    """Load the model and touch every weight once."""
    import torch
    from fishtune.core.model.checkpoint import load_model

    began = time.monotonic()
    model = load_model(options.folder / "base", device=options.device)
    loaded = time.monotonic() - began
    parameters = sum(weight.numel() for weight in model.parameters())
    with torch.no_grad():  # one number of every page is enough to read it
        total = sum(
            float(weight.view(-1)[:: 2048 // weight.element_size()].float().sum())
            for weight in model.parameters()
        )
    return {"load_seconds": round(loaded, 2), "parameters": parameters, "sum": round(total, 3)}


def step_generate(options: argparse.Namespace) -> dict[str, object]:
    """Generate frames after a prompt, greedily and by drawing."""
    from fishtune.core.model.checkpoint import load_model
    from fishtune.core.model.families.s1 import S1
    from fishtune.core.model.families.s1.sampling import S1Rule
    from fishtune.core.model.generate import generate

    model = load_model(options.folder / "base", device=options.device)
    prompt = random_prompt(model, options.prompt)
    measured: dict[str, object] = {"device": str(model.norm.weight.device)}
    for name, sampling in (("greedy", replace(S1.sampling, greedy=True)), ("drawn", S1.sampling)):
        moments: list[float] = []
        generate(
            model,
            prompt,
            S1Rule(sampling),
            end_id=-1,
            max_new_tokens=options.frames,
            residual_codebook_size=1024,
            on_frame=lambda _, moments=moments: moments.append(time.monotonic()),  # type: ignore[misc]
        )
        measured[f"{name}_frames_per_second"] = round((len(moments) - 1) / (moments[-1] - moments[0]), 2)
    return measured


def random_prompt(model: DualAR, columns: int, seed: int = 0) -> Tensor:
    """Return a prompt `(K+1, columns)` of random codes, such as a reference has."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    # The codec's residual codebooks are smaller than the model's.
    largest = min(model.config.codebook_size, 1024)
    codes = torch.randint(largest, (model.config.num_codebooks, columns), generator=generator)
    return torch.cat([codes[:1] + model.semantic_begin_id, codes])


def step_adapter(options: argparse.Namespace) -> dict[str, object]:
    """Write an adapter folder of the preset with random weights."""
    modules = write_adapter(options.folder / "base", options.preset, options.folder / "step_000000010")
    return {"modules": len(modules)}


def write_adapter(base: Path, preset: str, folder: Path) -> list[str]:
    """Write an adapter folder of a preset with random weights; return the adapted modules."""
    import torch
    from fishtune.core.config.presets import lora_preset
    from fishtune.core.lora.injection import add_adapters, save_adapter
    from fishtune.core.model.checkpoint import load_model

    model = load_model(base)
    names = add_adapters(model, lora_preset(preset), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name or "lora_embedding_" in name:
                weight.normal_(0, 0.01)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_adapter(model, base, folder)
    return names


def step_merge(options: argparse.Namespace) -> dict[str, object]:
    """Merge the adapter into a directory whose unchanged files are linked."""
    from fishtune.core.config.settings import MergeSettings
    from fishtune.core.stages.merge.run import run
    from task_clock import TaskClock

    clock = TaskClock()
    began = time.time()
    result = run(
        MergeSettings(
            base_weight=options.folder / "base",
            lora_weight=options.folder / "step_000000010",
            output=options.folder / "merged",
            link=True,
            overwrite=True,
        ),
        clock,
    )
    ends = {f"{task} done at": round(moment - began, 1) for task, moment in clock.last.items()}
    return {**ends, **result.verification.model_dump()}


def step_reload(options: argparse.Namespace) -> dict[str, object]:
    """Load what the merge made."""
    options.folder = options.folder / "reload"
    options.folder.mkdir(exist_ok=True)
    link = options.folder / "base"
    link.unlink(missing_ok=True)
    link.symlink_to((options.folder.parent / "merged").resolve())
    return step_load(options)


if __name__ == "__main__":
    main()
