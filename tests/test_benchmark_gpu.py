"""`benchmarks/gpu.py` on the CPU: whole, bounded, and not stopped by a part that fails."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from fishtune.core.config.presets import LoraPreset, lora_preset, model_preset
from fishtune.core.events import Step
from fishtune.core.lora.injection import add_adapters, train_everything
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.families.s1 import S1
from fishtune.core.stages.train.data import load_data
from fishtune.core.text.prompts import IGNORED
from torch.utils.flop_counter import FlopCounterMode

from . import gpu_parts
from .fake_nvml import GIB, FakeNvml
from .recorder import Recorder
from .training_kit import make_batch

BOUND = 30.0  # seconds
TRAINED = ("r_16_alpha_16, none", "r_16_alpha_16, blocks", "r_8_alpha_16, selective", "full, none")
"""Every preset and every way of checkpointing, though not all of them together."""
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script as a module; it finds its parts beside itself."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("gpu")
    for name in [name for name in sys.modules if name == "gpu" or name.startswith("on_gpu")]:
        del sys.modules[name]


def report_of(folder: Path) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the parts by name, and the page."""
    content = json.loads((folder / "gpu.json").read_text(encoding="utf-8"))
    return {part["part"]: part for part in content["parts"]}, (folder / "gpu.md").read_text(encoding="utf-8")


def part(gpu: ModuleType, name: str, seconds: float, **arguments: Any) -> Any:
    """Return a part of `gpu_parts`."""
    return gpu.Part(name, f"{gpu_parts.__name__}:{name}", seconds, arguments)


@pytest.mark.long
def test_every_part_runs_with_tiny_shapes_and_one_that_fails_stops_no_other(
    gpu: ModuleType, tmp_path: Path
) -> None:
    kept = {*(f"training {each}" for each in TRAINED), "step alone, as the stage"}
    several = ("training", "step alone")
    ways = [each.arguments["way"] for each in gpu.PARTS if each.name.startswith("step alone")]
    assert ways == list(importlib.import_module("on_gpu.steps").WAYS)
    parts = [each for each in gpu.PARTS if not each.name.startswith(several) or each.name in kept]
    parts.insert(3, part(gpu, "raises", 10))
    deadline = time.monotonic() + 3600  # a machine with other work is slow
    code = gpu.measure(parts, tmp_path / "work", tmp_path / "out", deadline, tiny=True)
    found, page = report_of(tmp_path / "out")
    log = (tmp_path / "out" / "gpu.log").read_text(encoding="utf-8", errors="replace")
    assert {name: each["state"] for name, each in found.items()} == {
        each.name: "failed" if each.name == "raises" else "done" for each in parts
    }, log
    wrong = [row for each in found.values() for row in each["rows"] if not row.get("passed", True)]
    assert not wrong and all(each["rows"] for each in found.values())
    assert code == 1, "a part failed"
    assert found["raises"]["error"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert "and more" in log, "the whole of it is in the log"
    assert all(f"## {each.name}" in page for each in parts)
    trained = [name for name in found if name.startswith("training")]
    assert {name.split()[1] for name in trained} == {"r_16_alpha_16,", "r_8_alpha_16,", "full,"}
    assert {name.split()[2] for name in trained} == {"none", "selective", "blocks"}
    for name in trained:
        (row,) = found[name]["rows"]
        assert row["tokens/s"] > 0 and row["model TFLOP/s"] > 0
    (short,) = found["out of memory"]["rows"]
    assert short["halved"] > 0 and short["same coverage"]
    assert_every_step_is_what_is_counted(gpu, tmp_path / "work")


def assert_every_step_is_what_is_counted(gpu: ModuleType, work: Path) -> None:
    training: Any = importlib.import_module("on_gpu.training")
    bench = gpu.Bench(work, "cpu", gpu.TINY_SIZES)
    counted = training.step_work(bench)
    settings = training.settings_of(bench, "any")
    data = load_data(settings, ModelDirectory.open(bench.base), Recorder())
    for plan in data.sampler(settings.batch_tokens, 1, settings.seed).epoch(0):
        labels = data.source.batch(plan).labels[:, 0]
        tokenizer = data.source.base.tokenizer
        semantic = (labels >= tokenizer.semantic_begin_id) & (labels <= tokenizer.semantic_end_id)
        assert [plan.columns] * len(plan.clips) == counted.lengths
        assert int((labels != IGNORED).sum()) == counted.supervised
        assert int(semantic.sum()) == counted.frames


def test_what_extraction_is_predicted_to_reserve_is_known_at_once_and_grows_with_the_batch(
    gpu: ModuleType, tmp_path: Path
) -> None:
    extraction: Any = importlib.import_module("on_gpu.extraction")
    bench = gpu.Bench(tmp_path, "cpu", gpu.TRUE_SIZES)  # without a file, the codec is the published one
    few, many = (extraction.predicted_peak(bench, clips) for clips in (6, 60))
    assert GIB < few < many < 80 * GIB


def test_parts_that_die_hang_or_are_wrong_cost_only_themselves(gpu: ModuleType, tmp_path: Path) -> None:
    bench = gpu.Bench(tmp_path, "cpu", gpu.TINY_SIZES)
    context = gpu.start_method(bench, tmp_path / "gpu.log", [])
    # What hangs expects little, and so is ended soon.
    parts = [
        *(part(gpu, name, 9) for name in ("dies", "raises", "wrong")),
        part(gpu, "hangs", 0.8),
        part(gpu, "well", 9, value=7),
    ]
    report, states = gpu.Report(tmp_path, {"minutes": 1}), []

    def changed(outcomes: Any) -> None:
        report.write(outcomes)
        found, page = report_of(tmp_path)
        assert list(found) == [each.name for each in parts], "whole at every moment"
        assert all(f"| {name} | {each['state']} |" in page for name, each in found.items())
        states.append([each["state"] for each in found.values()])

    began = time.monotonic()
    outcomes = gpu.run_parts(parts, bench, began + BOUND, tmp_path / "gpu.log", context, changed)
    assert time.monotonic() - began < BOUND + 1
    assert {each.part: (each.state, [row["what"] for row in each.rows]) for each in outcomes} == {
        "dies": ("failed", ["before it died"]),
        "raises": ("failed", ["before it failed"]),
        "wrong": ("done", ["sum of 2 and 2"]),
        "hangs": ("out of time", ["before it hung"]),
        "well": ("done", ["first", "second"]),
    }
    assert "code -9" in outcomes[0].error
    assert [each.well for each in outcomes] == [False, False, False, False, True]
    assert "not as it must be: sum of 2 and 2" in report_of(tmp_path)[1]
    assert states[0] == ["waiting"] * 5 and states[1] == ["running", *["waiting"] * 4]
    started = int((tmp_path / gpu_parts.STARTED).read_text())
    assert not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE


def test_no_part_begins_without_time(gpu: ModuleType, tmp_path: Path) -> None:
    bench = gpu.Bench(tmp_path, "cpu", gpu.TINY_SIZES)
    context: Any = None  # nothing may be started
    deadline = time.monotonic() + 1
    outcomes = gpu.run_parts(gpu.PARTS, bench, deadline, tmp_path / "log", context, lambda _: None)
    assert {each.state for each in outcomes} == {"no time left"}


# What a GPU would say, injected.


def test_devices_of_torch_are_held_against_those_of_nvml(
    gpu: ModuleType, fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards: Any = importlib.import_module("on_gpu.cards")
    for name, value in fake_nvml.environment.items():
        monkeypatch.setenv(name, value)
    devices = [
        SimpleNamespace(
            name="NVIDIA H100 80GB HBM3",
            uuid=f"{fake_nvml.add_gpu()}1111111-2222-3333-4444-555555555555",
            total_memory=79 * GIB,
        )
        for _ in range(2)
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: devices[number])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (78 * GIB, 79 * GIB))
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    rows = list(cards.listing(None))
    assert len(rows) == 9 and all(row["passed"] for row in rows)
    devices.reverse()
    devices[0].name = "NVIDIA H200"
    wrong = [row["what"] for row in cards.listing(None) if not row["passed"]]
    assert wrong == [
        "cuda:0 is the same device",
        "cuda:0 has the same name",
        "cuda:1 is the same device",
    ]


def test_a_ballast_leaves_a_share_of_what_a_step_takes(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    survival: Any = importlib.import_module("on_gpu.survival")
    for name, value in {
        "memory_allocated": 10 * GIB,
        "max_memory_allocated": 16 * GIB,
        "memory_reserved": 11 * GIB,
        "mem_get_info": (50 * GIB, 80 * GIB),
        "synchronize": None,
        "empty_cache": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    taken = []
    monkeypatch.setattr(torch, "empty", lambda size, **_: taken.append(size))
    ballast = survival.Ballast(gpu.Bench(Path(), "cuda", gpu.TINY_SIZES))
    ballast.emit(Step(step=2, loss=1, base_loss=1, semantic_loss=1, learning_rate=1))
    # A step takes 6 GiB: 0.6 of them are left, of which 1 GiB is in torch's cache already.
    assert taken == [ballast.bytes] == [int(50 * GIB - (0.6 * 6 * GIB - GIB))]


# Model FLOPs.


FAST_ALONE = lora_preset("r_16_alpha_16").model_copy(update={"targets": [r"fast_layers\.\d+\.attention\.wo"]})
"""No gradient goes to what comes before."""


def _addmm_in_place(_sum: Any, left: Any, right: Any, **_: Any) -> int:
    """Return the operations of a product that torch's own table does not have."""
    return 2 * left[0] * left[1] * right[1]


@pytest.mark.parametrize(
    ("preset", "passes"),
    [
        *((lora_preset(name), (3, 3)) for name in ("r_16_alpha_16", "r_8_alpha_16", "fast_r_16_alpha_16")),
        (lora_preset("full"), (3, 3)),
        (FAST_ALONE, (1, 2)),
    ],
    ids=["slow", "all", "slow and fast", "full", "fast alone"],
)
def test_model_flops_are_what_torch_counts_without_recomputation(
    gpu: ModuleType, tiny_checkpoint: Path, preset: LoraPreset, passes: tuple[float, float]
) -> None:
    """Torch does not count attention on a CPU; of its products causality leaves half."""
    flops: Any = importlib.import_module("on_gpu.flops")
    model = load_model(tiny_checkpoint)
    if preset.method == "full":
        train_everything(model)
    else:
        add_adapters(model, preset, seed=1)
    batch = make_batch(tiny_checkpoint, (24, 24))
    _, _, length = batch.tokens.shape
    labels = batch.labels[:, 0]
    semantic = model.is_semantic(labels)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _addmm_in_place}) as counted:
        hidden = model.slow(batch.tokens)
        loss = model.token_logits(hidden[labels >= 0]).logsumexp(-1).sum()
        codes = batch.labels[:, 1:].transpose(1, 2)[semantic]
        loss = loss + model.fast_logits(model.fast_input(hidden[semantic]), codes).logsumexp(-1).sum()
        loss.backward()
    frames = int(semantic.sum())
    work = flops.Work([length] * 2, int((labels >= 0).sum()), frames)
    config, found = model.config, counted.get_flop_counts()["Global"]
    weights = sum(count for operation, count in found.items() if "mm" in str(operation))
    pairs = [2 * length * (length + 1) / 2, frames * config.num_codebooks * (config.num_codebooks + 1) / 2]
    shapes = [(config.slow, config.n_layer), (config.fast, config.n_fast_layer)]
    attention = sum(
        each * layers * 2 * 2 * shape.n_head * shape.head_dim * count
        for (shape, layers), count, each in zip(shapes, pairs, passes, strict=True)
    )
    assert flops.step_flops(config, preset, work) == weights + attention


def test_the_peak_of_a_card_is_known_by_its_name(gpu: ModuleType) -> None:
    flops: Any = importlib.import_module("on_gpu.flops")
    assert flops.peak_of("NVIDIA H100 80GB HBM3") == 989.4e12
    assert flops.peak_of("NVIDIA H100 PCIe") == 756e12
    assert flops.peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert flops.peak_of("NVIDIA L4") != flops.peak_of("NVIDIA L40S")
    assert flops.peak_of("Some GPU") is None


def test_a_token_of_s1_mini_costs_what_its_matrices_do(gpu: ModuleType) -> None:
    """With adapters on the slow stack: 4 operations a weight, since frozen weights need no gradient."""
    flops: Any = importlib.import_module("on_gpu.flops")
    config = S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json")
    slow = 28 * (1024 * 4096 + 2048 * 1024 + 3 * 1024 * 3072)
    work = flops.Work([1] * 1000, 0, 0)
    a_token = flops.step_flops(config, lora_preset("r_16_alpha_16"), work) / 1000
    assert 4 * slow < a_token < 4.2 * slow
    assert 6 * slow < flops.step_flops(config, lora_preset("full"), work) / 1000 < 6.01 * slow
