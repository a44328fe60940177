"""`fishtune train`: flags over the project file over the preset, and a whole run."""

from __future__ import annotations

import inspect
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli import app
from fishtune.core.cli import train as command
from fishtune.core.config.settings import TrainOptions, TrainSettings
from fishtune.core.jobs.record import Place
from fishtune.core.pipeline.choice import recommended

from .training_kit import shards, small_base  # noqa: F401 - fixtures


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TrainSettings]:
    """Settings that the command would have trained with; the command runs in the test's folder."""
    settings: list[TrainSettings] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "run_stage", lambda stage, given, **_: settings.append(given))
    return settings


def test_every_training_option_is_a_flag() -> None:
    assert set(TrainOptions.model_fields) <= set(inspect.signature(command.train).parameters)


def test_flags_win_over_the_project_file_and_that_over_the_preset(
    asked: list[TrainSettings], tmp_path: Path
) -> None:
    (tmp_path / "fishtune.toml").write_text(
        'name = "yoona"\n[train]\nlora_config = "gentle"\nwarmup_steps = 7\nseed = 5\n'
        '[dataset]\npath = "voices"\n'
    )
    assert app.run(["train", "--seed", "9", "--logger", "csv"]) == 0
    (settings,) = asked
    assert (settings.project, settings.results) == ("yoona", tmp_path / "results")
    assert settings.protos == tmp_path / "voices" / "protos"
    assert settings.learning_rate == 1e-5, "the preset's"
    assert settings.warmup_steps == 7, "the project file's"
    assert settings.seed == 9, "the flag's"
    assert settings.loggers == ["csv"]


def test_a_preset_given_as_a_flag_brings_its_own_values(asked: list[TrainSettings], tmp_path: Path) -> None:
    (tmp_path / "fishtune.toml").write_text('name = "yoona"\n[train]\nlora_config = "gentle"\n')
    assert app.run(["train", "--project", "other", "--lora-config", "r_8_alpha_16"]) == 0
    assert asked[0].project == "other"
    assert asked[0].learning_rate == TrainOptions().learning_rate
    assert asked[0].semantic_loss_weight == 1.0


def test_the_documented_command_works_without_a_project_file(
    asked: list[TrainSettings], tmp_path: Path
) -> None:
    assert app.run(["train", "--project", "yoona", "--lora-config", "r_8_alpha_16"]) == 0
    (settings,) = asked
    assert settings.base == tmp_path / "checkpoints" / "openaudio-s1-mini"
    assert settings.protos == tmp_path / "data" / "protos"
    assert settings.gate and settings.resume == "auto"


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ([], "The run has no name"),
        (["--project", "x", "--lora-config", "r8"], "There is no lora preset 'r8'"),
        (["--project", "a/b"], "--project: it is used as a folder name"),
        (["--project", ".."], "--project: it is used as a folder name"),
        (["--project", "x", "--learning-rate", "inf"], "--learning-rate: input should be a finite number"),
        (["--project", "x", "--seed", "-1"], "--seed"),
        (["--project", "x", "--max-steps", "many"], "Input should be a valid integer\n"),
        (["--project", "x", "--step", "1"], "fishtune train has no option --step."),
        (["--project", "x", "--learning-rate", "0"], "--learning-rate: input should be greater than 0"),
        (
            ["--project", "x", "--logger", "paper"],
            "--logger: input should be 'tensorboard', 'csv' or 'wandb'",
        ),
        (
            ["--project", "x", "--schedule", "square"],
            "error: Invalid value for '--schedule': 'square' is not",
        ),
    ],
)
def test_wrong_use_is_one_message_and_exit_code_2(
    asked: list[TrainSettings], capsys: pytest.CaptureFixture[str], arguments: list[str], phrase: str
) -> None:
    assert app.run(["train", *arguments]) == 2
    assert phrase in capsys.readouterr().err
    assert not asked


def test_a_whole_run_by_the_command(
    small_base: Path,  # noqa: F811
    shards: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments: list[Any] = ["train", "--project", "yoona", "--base", small_base, "--protos", shards]
    arguments += ["--lora-config", "r_8_alpha_16", "--batch-tokens", 128, "--device", "cpu", "--max-steps", 3]
    assert app.run([str(each) for each in arguments]) == 1, "the gate refuses random weights"
    assert "random or wiped" in capsys.readouterr().err
    assert app.run([str(each) for each in [*arguments, "--no-gate"]]) == 0
    written = capsys.readouterr()
    checkpoint = tmp_path / "results" / "yoona" / "checkpoints" / "step_000000003.ckpt"
    assert f"Checkpoint: {checkpoint}" in written.out
    assert "step 3/3" in written.err
    assert "Next: fishtune audition results/yoona " in written.out
    offered = shlex.split(written.out.partition("Then: fishtune ")[2].splitlines()[0])
    best = recommended(Place(results=tmp_path / "results", project="yoona"))
    assert best is not None and offered[offered.index("--lora-weight") + 1] == str(best.candidate.path)
    offered[offered.index("--output") + 1] = str(tmp_path / "merged")  # the test's base is shared
    assert app.run(offered) == 0, "the offered command works"
    assert (tmp_path / "merged" / "model.pth").exists()
    capsys.readouterr()
    assert not any(word in written.out + written.err for word in ("Lightning", "litlogger", "TPU", "tip"))
    assert app.run([str(each) for each in [*arguments, "--no-gate", "--json"]]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 3


def test_after_a_training_a_project_is_auditioned_and_its_recommended_checkpoint_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fishtune.toml").write_text('name = "윤아 1"\n')
    ended = {"step": 3, "clip_passes": 1.0, "minutes": 1.0, "validation_loss": None, "checkpoint": "x.ckpt"}
    monkeypatch.setattr(command, "run_stage", lambda *_, **__: ended)
    assert app.run(["train"]) == 0
    said = capsys.readouterr().out
    assert "Next: fishtune audition 'results/윤아 1'" in said and "Then: fishtune merge  (" in said
