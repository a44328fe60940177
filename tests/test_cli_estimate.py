"""`fishtune estimate`, and the page of the documentation that its arithmetic makes."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli.app import run
from fishtune.core.config.presets import lora_preset, model_preset
from fishtune.core.config.project import Project
from fishtune.core.config.settings import TrainOptions
from fishtune.core.hardware.memory.measured import FILE_NAME, MeasurementCache
from fishtune.core.hardware.memory.needs import TrainingNeeds
from fishtune.core.hardware.memory.setups import Setup
from fishtune.core.model.families.s1 import S1

from .accounting_kit import accounted_here, made_up_memory  # noqa: F401 - fixtures
from .fake_nvml import GIB, FakeNvml
from .training_kit import shards, small_base  # noqa: F401 - fixtures

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def answer(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert run(["estimate", "--json", *flags]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_the_table_for_a_card_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", "--gpu-memory", "24GiB"]) == 0
    written = capsys.readouterr().out
    for words in ("weights", "fast stack", "CUDA context", "free    24.0 GiB of 24.0 GiB on an unused card"):
        assert words in written
    assert "It fits." in written
    assert "Suggested: --batch-tokens 8192 --accumulation 1" in written


def test_what_does_not_fit_comes_with_remedies(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["estimate", "--gpu-memory", "8GiB", "--lora-config", "full"]) == 0
    written = capsys.readouterr().out
    assert "It does not fit." in written
    assert "No batch fits. What would help:" in written
    assert "a GPU of 24 GB" in written


def test_parts_add_up_and_free_memory_is_the_gpus(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_nvml.add_gpu(gib=80, free=10 * GIB, compute=f"{os.getpid()}:{69 * GIB}")
    content = answer(capsys)
    assert sum(content["parts"].values()) == content["needed"]
    assert content["available"]["free"] == 10 * GIB
    assert content["available"]["processes"][0]["memory"] == 69 * GIB
    assert content["fits"] is True
    assert content["suggestion"]["fits"] is True


def test_the_device_is_the_one_that_torch_would_use(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_nvml.add_gpu(gib=80)
    fake_nvml.add_gpu(gib=24)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert answer(capsys)["available"]["total"] == 24 * GIB
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert answer(capsys, "--device", "cuda:1")["available"]["total"] == 80 * GIB
    assert run(["estimate", "--device", "cuda:2"]) == 1
    assert "There is no CUDA device 'cuda:2'" in capsys.readouterr().err


def test_a_card_without_bfloat16_is_counted_in_float32(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_nvml.add_gpu(name="Tesla T4", gib=16, capability=75)
    content = answer(capsys, "--max-length", "1024")
    assert "float32" in content["asked"]
    assert content["parts"]["weights"] == pytest.approx(4 * 860e6, rel=0.01)


def test_without_a_gpu_the_need_alone_is_told(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    content = answer(capsys)
    assert content["available"] is content["fits"] is content["suggestion"] is None
    assert run(["estimate"]) == 0
    assert "There is no GPU here; ask about a card with --gpu-memory 24GiB." in capsys.readouterr().out


def test_the_project_file_counts_and_flags_win(capsys: pytest.CaptureFixture[str]) -> None:
    Path("fishtune.toml").write_text('name = "x"\n[train]\nlora_config = "full"\nbatch_tokens = 4096\n')
    content = answer(capsys, "--gpu-memory", "80GiB", "--max-length", "1024")
    assert content["asked"].startswith(
        "Training, full: micro-batches of 4096 tokens × 1, samples of up to 1024"
    )
    content = answer(capsys, "--gpu-memory", "80GiB", "--lora-config", "r_8_alpha_16")
    assert content["asked"].startswith("Training, r_8_alpha_16")


def test_the_shape_is_that_of_the_checkpoint_where_there_is_one(
    golden: Path,
    capsys: pytest.CaptureFixture[str],
    accounted_here: list[Setup],  # noqa: F811
) -> None:
    flags = ["--gpu-memory", "8GiB", "--base", str(golden / "base"), "--max-length", "512"]
    content = answer(capsys, *flags)
    assert content["parts"]["weights"] < 10 * 1024**2
    done = list(accounted_here)
    assert done, "no table knows it"
    assert answer(capsys, *flags) == content
    assert accounted_here == done, "it is accounted once"


def test_in_a_project_with_packed_data_the_plan_of_its_training_is_told(
    made_up_memory: None,  # noqa: F811
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = Project.create(tmp_path, "yoona", model={"path": str(small_base)}, train={"epochs": 4})
    project.dataset.protos = shards
    project.save()
    assert run(["estimate", "--batch-tokens", "128", "--max-length", "128", "--checkpoint-every", "10"]) == 0
    written = capsys.readouterr().out
    assert "Plan: 4 epochs ≈ " in written and "10 clips to train on, 2 held out." in written
    assert "How long it takes is not known" in written
    plan = answer(capsys, "--batch-tokens", "128", "--max-length", "128", "--max-steps", "3")["plan"]
    assert (plan["steps"], plan["seconds"], plan["checkpoints"]) == (3, None, 1)


def test_what_cannot_be_trained_cannot_be_estimated(
    golden: Path,
    capsys: pytest.CaptureFixture[str],
    accounted_here: list[Setup],  # noqa: F811
) -> None:
    flags = ["--gpu-memory", "8GiB", "--base", str(golden / "base"), "--lora-config", "r_8_alpha_16"]
    assert run(["estimate", *flags]) == 2
    assert "This preset puts an adapter on the word embedding" in capsys.readouterr().err
    assert accounted_here


def test_a_measured_peak_corrects_what_is_told(
    fake_nvml: FakeNvml, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_nvml.add_gpu()
    before = answer(capsys)
    config = S1().read_shape(model_preset("openaudio-s1-mini").config, "config.json")
    cache = MeasurementCache()
    assert cache.file.name == FILE_NAME
    needs = TrainingNeeds(config, TrainOptions(), lora_preset("r_16_alpha_16"), "NVIDIA H100 80GB HBM3")
    estimate = needs.predicted(8192)
    cache.record(needs.setting, estimate, estimate.corrected(1.4).reserved)
    after = answer(capsys)
    assert (before["corrected_by_measurement"], after["corrected_by_measurement"]) == (False, True)
    assert after["needed"] > before["needed"]


def test_extraction_is_estimated_too(capsys: pytest.CaptureFixture[str]) -> None:
    content = answer(capsys, "--stage", "extract", "--gpu-memory", "8GiB", "--batch-size", "8")
    assert content["asked"] == "Extraction: 8 clips of 20 s"
    assert content["suggestion"]["batch_seconds"] == 600


@pytest.mark.parametrize("size", ["lots", "24"])
def test_a_wrong_size_is_wrong_use(capsys: pytest.CaptureFixture[str], size: str) -> None:
    assert run(["estimate", "--gpu-memory", size]) == 2
    said = f"'{size}' is not a memory size.\n  → Write it like 24GiB or 512MiB."
    assert said in capsys.readouterr().err


def test_the_committed_page_is_what_the_arithmetic_says() -> None:
    page = runpy.run_path(str(ROOT / "benchmarks" / "memory.py"))["document"]()
    committed = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    assert committed == page, "run: python benchmarks/memory.py"
