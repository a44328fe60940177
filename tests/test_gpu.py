"""What only a GPU can show: `python -m pytest -m gpu tests/test_gpu.py`. Skipped where there is none."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fishtune.core.codec.checkpoint import load_codec
from fishtune.core.compute.devices import peak_meter
from fishtune.core.config.settings import ExtractSettings, MergeSettings
from fishtune.core.events import Event, MemoryMeasured, Reporter, Step, Warned
from fishtune.core.hardware.nvml import read_gpus
from fishtune.core.hardware.visibility import cuda_view
from fishtune.core.model import recording
from fishtune.core.model.checkpoint import load_model
from fishtune.core.model.directory import ModelDirectory
from fishtune.core.model.generate import Request, generate, generate_all
from fishtune.core.stages.extract.run import run as extract
from fishtune.core.stages.merge import proof
from fishtune.core.stages.merge.run import run as merge
from fishtune.core.stages.train.checkpoints import read_run_state
from fishtune.core.stages.train.run import TrainResult, run
from torch.nn.attention import SDPBackend, sdpa_kernel

from .conftest import GOLDEN
from .extract_kit import noise, write_clip
from .recorder import Recorder
from .s2_kit import GOLDEN_S2
from .training_kit import (
    make_batch,
    shards,  # noqa: F401 - a fixture
    small_base,  # noqa: F401 - a fixture
    train_settings,
    write_shards,
)

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
MIB = 1 << 20
SAME_CODES = 0.999
"""Share: sums in another order move a latent across the border between two entries now and then."""


def train(folder: Path, base: Path, protos: Path, **changes: Any) -> tuple[TrainResult, Recorder]:
    recorder = Recorder()
    return run(train_settings(folder, base, protos, **({"device": DEVICE} | changes)), recorder), recorder


def losses(recorder: Recorder) -> list[float]:
    return [step.loss for step in recorder.of(Step)]


# Codes.


def test_codes_are_those_of_the_cpu_and_the_codecs_voice_too() -> None:
    seconds = (1.5, 0.7)
    lengths = [round(each * 44_100) for each in seconds]
    audio = torch.zeros(2, 1, lengths[0])
    for row, length in enumerate(lengths):
        audio[row, 0, :length] = torch.from_numpy(noise(seconds[row], row))[:length]
    codecs = [load_codec(GOLDEN / "base/codec.pth", "modded_dac_vq", device) for device in ("cpu", DEVICE)]
    found = [codec.encode(audio.to(codec.device), lengths).cpu() for codec in codecs]
    assert float((found[0] == found[1]).float().mean()) >= SAME_CODES
    spoken = [codec.decode(found[0].to(codec.device)).cpu() for codec in codecs]
    torch.testing.assert_close(spoken[1], spoken[0], atol=1e-4, rtol=1e-3)


def test_extraction_in_batches_writes_what_a_cpu_writes(tmp_path: Path) -> None:
    written = {}
    for name, device in (("expected", "cpu"), ("found", DEVICE)):
        data = tmp_path / name
        for number in range(4):
            write_clip(data / "ANN" / f"{number}.wav", 0.4 + 0.2 * number, seed=number)
        checkpoint = GOLDEN / "base/codec.pth"
        result = extract(
            ExtractSettings(data=data, checkpoint_path=checkpoint, batch_size=3, device=device), Reporter()
        )
        assert result.encoded == 4 and not result.failed
        written[name] = [np.load(path) for path in sorted(data.rglob("*.npy"))]
    for own, expected in zip(written["found"], written["expected"], strict=True):
        assert own.shape == expected.shape and own.dtype == expected.dtype
        assert (own == expected).mean() >= SAME_CODES


# Generation and training compute the same.


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_gate_finds_generation_and_training_in_agreement(
    tiny_checkpoint: Path,
    shards: Path,  # noqa: F811
    tmp_path: Path,
    precision: str,
) -> None:
    _, recorder = train(tmp_path, tiny_checkpoint, shards, max_steps=2, precision=precision)
    assert [event.message for event in recorder.of(Warned) if "Preflight" in event.message] == []
    assert len(recorder.of(Step)) == 2


def test_cached_generation_is_the_training_forward_on_the_same_path(tiny_checkpoint: Path) -> None:
    base, model = ModelDirectory.open(tiny_checkpoint), load_model(tiny_checkpoint, device=DEVICE)
    prompt = make_batch(tiny_checkpoint).tokens[0]
    spoken = generate(
        model,
        prompt,
        base.rule(replace(base.family.sampling, greedy=True)),
        end_id=-1,
        max_new_tokens=12,
        residual_codebook_size=model.config.codebook_size,
    )
    columns = torch.cat([prompt, spoken.tokens], dim=1).to(DEVICE)
    length = prompt.shape[1]
    with torch.no_grad():
        hidden = model.slow(columns[None])[0, length - 1 : -1]
        tokens = model.token_logits(hidden)
        codes = model.fast_logits(model.fast_input(hidden), columns[1:, length:].T)
    chosen = tokens.gather(1, columns[0, length:, None])[:, 0]
    assert float((tokens.max(1).values - chosen).max()) < 1e-3
    chosen = codes[:, 1:].gather(2, columns[2:, length:].T[..., None])[..., 0]
    assert float((codes[:, 1:].max(2).values - chosen).max()) < 1e-3


def test_texts_in_a_batch_are_recorded_as_cuda_graphs_and_get_the_frames_of_the_plain_steps(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = ModelDirectory.open(tiny_checkpoint), load_model(tiny_checkpoint, device=DEVICE)
    prompt = make_batch(tiny_checkpoint).tokens[0]
    prompts = [prompt[:, :length] for length in (prompt.shape[1], 20, 11)]
    said: list[str] = []
    found = []
    for devices in (recording.DEVICES, ()):
        monkeypatch.setattr(recording, "DEVICES", devices)
        found.append(
            generate_all(
                model,
                [Request(each, seed, 40) for seed, each in enumerate(prompts)],
                base.rule(base.family.sampling),
                end_id=-1,
                residual_codebook_size=model.config.codebook_size,
                rows=2,
                log=said.append,
            )
        )
    assert said == []
    for recorded, plain in zip(*found, strict=True):
        assert recorded.tokens.shape == plain.tokens.shape
        # Masked positions move sums by an ulp, and with it a draw now and then; what follows then differs.
        assert recorded.tokens[:, :4].equal(plain.tokens[:, :4])


@pytest.mark.parametrize("family", ["s1", "s2"])
def test_a_recorded_frame_is_the_plain_one_draws_included(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    base = ModelDirectory.open(tiny_checkpoint if family == "s1" else GOLDEN_S2 / "base")
    model = load_model(base.path, device=DEVICE)
    prompts = [torch.from_numpy(base.prompts.prompt([], text)) for text in ("hello", "bye", "hello again")]
    said: list[str] = []

    def spoken() -> list[torch.Tensor]:
        found = generate_all(
            model,
            [Request(each, seed, 40) for seed, each in enumerate(prompts)],
            base.rule(base.family.sampling),
            end_id=-1,
            residual_codebook_size=model.config.codebook_size,
            rows=2,
            log=said.append,
        )
        return [each.tokens for each in found]

    recorded = spoken()
    gc.collect()
    kept = torch.cuda.memory_allocated()
    again = spoken()
    gc.collect()
    assert torch.cuda.memory_allocated() <= kept, "graphs go with the generation"
    # The same step over the same positions, each kernel started by itself.
    monkeypatch.setattr(recording, "RecordedStep", lambda step, _: step)
    plain = spoken()
    assert said == []
    for tokens in (again, plain):
        assert all(one.equal(other) for one, other in zip(recorded, tokens, strict=True))


def test_a_forward_pass_is_that_of_the_cpu(tiny_checkpoint: Path) -> None:
    tokens = make_batch(tiny_checkpoint).tokens
    found = []
    for device in ("cpu", DEVICE):
        model = load_model(tiny_checkpoint, device=device)
        with torch.no_grad():
            found.append(model.token_logits(model.slow(tokens.to(device))).cpu())
    torch.testing.assert_close(found[1], found[0], atol=1e-3, rtol=1e-3)


def test_attention_of_training_in_bf16_is_fused_where_the_prediction_of_memory_takes_it_to_be(
    tiny_checkpoint: Path,
) -> None:
    model = load_model(tiny_checkpoint, torch.bfloat16, DEVICE)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):  # raises where it cannot be used
        model.slow(make_batch(tiny_checkpoint).tokens.to(DEVICE)).float().sum().backward()


# Training.


def test_losses_of_a_run_are_those_of_the_cpu(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    found = []
    for project, device in (("expected", "cpu"), ("found", DEVICE)):
        changes = {"lora_config": "slow_r_8_alpha_16", "precision": "float32", "max_steps": 1}
        _, recorder = train(tmp_path, small_base, shards, project=project, device=device, **changes)
        found.append(losses(recorder))
    # The first adapters are drawn on the CPU; dropout draws differ, and are of an adapter that is still 0.
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


@pytest.mark.parametrize("preset", ["r_8_alpha_16", "full"])
def test_a_run_goes_on_from_a_gpu_on_the_cpu_and_back(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    preset: str,
) -> None:
    for step, device in ((2, DEVICE), (4, "cpu"), (6, DEVICE)):
        result, recorder = train(
            tmp_path,
            small_base,
            shards,
            lora_config=preset,
            max_steps=step,
            device=device,
            precision="float32",
        )
        assert result.step == step and len(recorder.of(Step)) == 2
        state = torch.load(result.checkpoint, map_location="cpu", weights_only=True)
        assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())


class Ballast(Recorder):
    """Takes the device's memory after the first step, but for a share of what a step takes."""

    def __init__(self, left: float) -> None:
        super().__init__()
        self._left = left
        self.held: torch.Tensor | None = None

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Step) and event.step == 1:
            torch.cuda.synchronize()
            at_rest = torch.cuda.memory_allocated()
            step = torch.cuda.max_memory_allocated() - at_rest
            torch.cuda.empty_cache()
            # What stays cached a step can use, and the ballast cannot.
            left = max(self._left * step - (torch.cuda.memory_reserved() - at_rest), 64 * MIB)
            free, _ = torch.cuda.mem_get_info()
            self.held = torch.empty(int(free - left), dtype=torch.uint8, device=DEVICE)


def test_memory_that_grows_short_costs_no_clip_and_changes_no_gradient(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    protos = write_shards(tmp_path / "protos", {"ANN": [150] * 64})
    settings = train_settings(
        tmp_path,
        tiny_checkpoint,
        protos,
        device=DEVICE,
        lora_config="full",
        checkpointing="none",
        batch_tokens=16384,
        max_steps=3,
        held_out=0.0,
    )
    plain, tight = Recorder(), Ballast(left=0.6)
    roomy = run(settings.model_copy(update={"project": "roomy"}), plain)
    gc.collect()  # Lightning's parts hold one another, and with them the first run's memory
    try:
        short = run(settings.model_copy(update={"project": "short"}), tight)
    finally:
        tight.held = None
        torch.cuda.empty_cache()
    assert any("Out of memory in step" in event.message for event in tight.of(Warned))
    coverage = [read_run_state(result.checkpoint).coverage for result in (roomy, short)]
    assert torch.equal(*coverage)
    np.testing.assert_allclose(losses(tight), losses(plain), rtol=1e-2)


# Memory.


def test_a_peak_is_what_was_reserved_since_it_was_reset() -> None:
    meter = peak_meter(torch.device(DEVICE, 0))
    assert meter is not None and meter.device_name
    kept = torch.empty(8 * MIB, dtype=torch.uint8, device=DEVICE)
    meter.reset()
    before = meter.peak()
    torch.empty(64 * MIB, dtype=torch.uint8, device=DEVICE)
    assert meter.peak() - before >= 64 * MIB
    meter.reset()
    assert meter.peak() <= before
    del kept


def test_a_run_tells_its_predicted_and_measured_peak(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    _, recorder = train(tmp_path, small_base, shards, max_steps=1)
    (told,) = recorder.of(MemoryMeasured)
    assert told.device == torch.cuda.get_device_name(0)
    assert told.measured_bytes is not None and told.measured_bytes > 0
    assert recorder.of(Step)[0].memory_bytes is not None


def test_nvml_and_torch_tell_the_same_devices() -> None:
    torch.zeros(1, device=DEVICE)
    reading = read_gpus()
    devices = cuda_view(reading).devices
    assert len(devices) == torch.cuda.device_count()
    for device in devices:
        properties = torch.cuda.get_device_properties(device.ordinal)
        uuid = (device.mig.uuid if device.mig else device.gpu.uuid).removeprefix("GPU-").removeprefix("MIG-")
        assert uuid == str(properties.uuid)
        assert device.gpu.name == properties.name or device.mig is not None
        assert device.gpu.compute_capability == (properties.major, properties.minor)
        assert device.memory is not None
        # The driver's own share counts in NVML's total alone.
        assert device.memory.total == pytest.approx(properties.total_memory, rel=0.03)
        free, _ = torch.cuda.mem_get_info(device.ordinal)
        assert device.memory.free == pytest.approx(free, abs=0.02 * properties.total_memory)


def test_the_order_of_devices_follows_cuda_visible_devices() -> None:
    """The last GPU alone is `cuda:0`, for torch and for `fishtune gpus`."""
    last = len(read_gpus().gpus) - 1
    code = "import torch; print(torch.cuda.get_device_properties(0).uuid)"
    environment = {"CUDA_VISIBLE_DEVICES": str(last), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    uuid = _output([sys.executable, "-c", code], environment).strip()
    told = json.loads(
        _output([sys.executable, "-P", "-m", "fishtune.core.cli", "gpus", "--json"], environment)
    )
    (device,) = told["cuda"]["devices"]
    assert device["name"] == "cuda:0" and device["uuid"].endswith(uuid)


def _output(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(
        command, env=os.environ | environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_adapters_stay_float32_beside_a_base_in_bf16(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    result, _ = train(tmp_path, small_base, shards, max_steps=1, precision="bf16")
    state = torch.load(result.checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


# Merging.


def test_the_proof_of_a_merge_is_computed_on_the_gpu_and_says_what_a_cpu_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(proof, "resolve_device", lambda _, to=device: torch.device(to))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        settings = MergeSettings(
            base_weight=GOLDEN / "base",
            lora_weight=GOLDEN / "lora/step_000000010.ckpt",
            output=tmp_path / device,
            lora_alpha=8,
        )
        found.append(merge(settings, Reporter()).verification)
        assert (torch.cuda.max_memory_allocated() > before) == (device == "cuda")
    on_gpu, on_cpu = found
    assert on_gpu.arithmetic.relative_difference < 1e-5
    assert on_gpu.captured == pytest.approx(on_cpu.captured, abs=1e-4)
    assert on_gpu.effect.relative_difference == pytest.approx(on_cpu.effect.relative_difference, rel=1e-4)
