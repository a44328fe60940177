"""Compiled blocks train as blocks do that are not; where the compiler fails, the run goes on without it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from fishtune.core.config.presets import lora_preset, model_preset
from fishtune.core.config.run_files import checkpoint_path
from fishtune.core.events import Log, Step
from fishtune.core.lora.injection import add_adapters
from fishtune.core.model.dual_ar import DualAR
from fishtune.core.model.families.s1 import S1
from fishtune.core.model.recompute import run_block
from fishtune.core.stages.train import accounting, compilation, run
from fishtune.core.stages.train.run import TrainResult
from torch import Tensor

from .recorder import Recorder
from .test_training_run import assert_equal_weights
from .training_kit import shards, short_preflight, small_base, train_settings, write_plain_preset  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("short_preflight")

Start = Callable[..., tuple[TrainResult, Recorder]]


@pytest.fixture
def start(small_base: Path, shards: Path, tmp_path: Path) -> Start:  # noqa: F811
    """Run a training in the test's folder."""

    def begin(project: str, **changes: Any) -> tuple[TrainResult, Recorder]:
        recorder = Recorder()
        values = {
            "checkpointing": "none",
            "project": project,
            "max_steps": 4,
            "held_out": 0,
            "checkpoint_every": 2,
        } | changes
        return run.run(train_settings(tmp_path, small_base, shards, **values), recorder), recorder

    return begin


def compile_with(monkeypatch: pytest.MonkeyPatch, backend: object) -> list[Any]:
    """Compile on the CPU with a backend of torch; return the list that gets what runs the blocks of each run.

    The backend `eager` captures blocks as for a GPU, with shapes left open, and runs what it captured.
    """
    runners: list[Any] = []
    compile_blocks = compilation.compile_blocks

    def noted(model: Any, *arguments: Any) -> bool:
        compiled = compile_blocks(model, *arguments)
        runners.append(model.training_block)
        return compiled

    torch._dynamo.reset()
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "propagate", False)  # pytest would keep all of it
    monkeypatch.setattr(compilation, "DEVICES", ("cpu",))
    monkeypatch.setattr(compilation, "BACKEND", backend)
    monkeypatch.setattr(run, "compile_blocks", noted)
    return runners


@pytest.mark.slow
def test_compiled_runs_resume_bit_by_bit_and_follow_the_curve_of_blocks_as_they_are(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain = start("plain")
    runners = compile_with(monkeypatch, "eager")
    whole, compiled = start("whole")
    parts = shutil.copytree(whole.checkpoint.parents[1], whole.checkpoint.parents[2] / "parts")
    later = checkpoint_path(parts, 4)
    later.unlink()
    shutil.rmtree(later.with_suffix(""))
    resumed, recorder = start("parts")
    assert [step.step for step in recorder.of(Step)] == [3, 4]
    assert len(runners) == 2 and run_block not in runners
    assert_equal_weights(resumed, whole)
    for one, other in zip(compiled.of(Step), plain.of(Step), strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        # AdamW makes whole updates of gradients that are rounding errors.
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", ["selective", "blocks"])
def test_compiled_accumulation_is_one_step(
    start: Start, monkeypatch: pytest.MonkeyPatch, checkpointing: str
) -> None:
    runners = compile_with(monkeypatch, "eager")
    steps = []
    for project, tokens, accumulation in (("small", 128, 100), ("large", 4096, 1)):
        _, recorder = start(
            project,
            lora_config=write_plain_preset(),
            batch_tokens=tokens,
            max_length=128,
            accumulation=accumulation,
            max_steps=None,
            epochs=1,
            checkpointing=checkpointing,
        )
        (step,) = recorder.of(Step)
        steps.append((step.base_loss, step.semantic_loss, step.gradient_norm))
    assert run_block not in runners
    assert steps[0] == pytest.approx(steps[1], rel=1e-5)


def _failing(_graph: Any, _inputs: Any) -> Any:
    raise RuntimeError("no compiler is installed\nand more about that")


def _wrong(graph: Any, _inputs: Any) -> Any:
    return lambda *inputs: tuple(2 * each for each in graph(*inputs))


def options_of_torch() -> list[Any]:
    modules = (torch._dynamo.config, torch._functorch.config, torch._inductor.config)
    return [*(module.get_config_copy() for module in modules), torch.backends.cuda.cudnn_sdp_enabled()]


@pytest.mark.parametrize(
    ("backend", "reason"), [(_failing, "no compiler is installed"), (_wrong, "give other numbers")]
)
def test_a_compiler_that_does_not_work_is_named_in_the_log_and_left_out(
    start: Start, monkeypatch: pytest.MonkeyPatch, backend: object, reason: str
) -> None:
    plain, _ = start("plain", max_steps=2)
    runners = compile_with(monkeypatch, backend)
    before = options_of_torch()
    result, recorder = start("run", max_steps=2)
    assert runners == [run_block]
    assert options_of_torch() == before
    (message,) = [event.message for event in recorder.of(Log) if "not compiled" in event.message]
    assert reason in message and "and more" not in message
    assert_equal_weights(result, plain)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["r_16_alpha_16", "slow_r_8_alpha_16"])
def test_a_compiled_block_keeps_what_predictions_take_it_to_keep(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's compiler decides what is kept before it makes code, on a CPU as on a GPU."""
    torch._dynamo.reset()
    monkeypatch.setattr(compilation, "DEVICES", ("cpu",))
    config = model_preset("openaudio-s1-mini").config | {"n_layer": 1, "n_fast_layer": 1, "vocab_size": 2000}
    model = DualAR(S1().read_shape(config, "config.json"), 0, 1).to(torch.bfloat16)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    add_adapters(model, lora_preset(preset), seed=1)
    assert compilation.compile_blocks(model.train(), nullcontext(), torch.bfloat16, Recorder())
    own = {weight.untyped_storage().data_ptr() for weight in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    rows, columns = 4, 96
    x = torch.randn(rows, columns, model.config.dim, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.training_block(model.layers[0], x, model.rotary[:columns], "none")
    expected = 2 * rows * columns * (accounting._kept_numbers(model.layers[0]) + model.config.dim)
    assert sum(kept.values()) == pytest.approx(expected, rel=0.05)
