"""Every command reads the project of its folder; a project file that cannot be read ends the command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fishtune.core.cli import (
    audition,
    download,
    extract,
    merge,
    pack,
    prepare,
    running,
    synth,
    train,
    validate,
    verify,
)
from fishtune.core.cli.app import run
from fishtune.core.config.project import Project
from fishtune.core.config.run_files import checkpoint_path

MODULES = (audition, download, extract, merge, pack, prepare, synth, train, validate, verify)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Settings that commands would have run with; they run in the test's folder, a project's."""
    settings: list[Any] = []
    monkeypatch.chdir(tmp_path)
    for module in MODULES:
        monkeypatch.setattr(module, "run_stage", lambda stage, given, **_: settings.append(given))
    (tmp_path / "voices").mkdir()
    (tmp_path / "fishtune.toml").write_text(
        'name = "yoona"\n[dataset]\npath = "voices"\nprotos = "packed"\nexclude = ["A/noise"]\n'
        '[model]\npath = "base"\nrevision = "v2"\n[extract]\nbatch_size = 3\n'
        '[pack]\ntext_extension = ".txt"\nnum_workers = 2\n[merge]\noutput = "merged"\nlink = true\n'
    )
    return settings


def test_what_no_flag_gives_comes_from_the_project(asked: list[Any], tmp_path: Path) -> None:
    for command in ("validate", "extract", "pack", "download"):
        assert run([command]) == 0
    checked, extraction, packing, fetched = asked
    assert (checked.data, checked.text_extension) == (tmp_path / "voices", ".txt")
    assert extraction.checkpoint_path == tmp_path / "base" / "codec.pth"
    assert (extraction.data, extraction.batch_size) == (tmp_path / "voices", 3)
    assert (packing.input, packing.output) == (tmp_path / "voices", tmp_path / "packed")
    assert checked.exclude == extraction.exclude == packing.exclude == ["A/noise"]
    assert (fetched.local_dir, fetched.revision) == (tmp_path / "base", "v2")


def test_in_a_project_a_command_needs_no_more_than_its_name(asked: list[Any], tmp_path: Path) -> None:
    checkpoint = checkpoint_path(tmp_path / "results" / "yoona", 300)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    (tmp_path / "fishtune.toml").open("a").write(f'checkpoint = "{checkpoint}"\n')
    for command in ("train", "audition", "merge", "verify"):
        assert run([command]) == 0
    trained, heard, merged, read = asked
    assert (trained.project, trained.base, trained.protos) == (
        "yoona",
        tmp_path / "base",
        tmp_path / "packed",
    )
    assert heard.checkpoint == tmp_path / "results" / "yoona"
    assert (merged.lora_weight, merged.output) == (checkpoint, tmp_path / "merged")
    assert read.directory == tmp_path / "base"
    for command in ("checkpoints", "report", "validate", "extract", "pack", "download"):
        assert run([command]) == 0, command
    for command in ("synth", "prepare"):  # these need what no project says: a text, raw recordings
        assert run([command, "--text", "Hello.", "--out", "x.wav"] if command == "synth" else [command]) == 0
    assert asked[-2].checkpoint == tmp_path / "merged" and asked[-1].out == tmp_path / "voices"


def test_flags_win_over_the_project(asked: list[Any], tmp_path: Path) -> None:
    assert run(["extract", "--batch-size", "9", "--exclude", "B/1"]) == 0
    assert run(["pack", "--output", "elsewhere", "--num-workers", "0"]) == 0
    assert (asked[0].batch_size, asked[0].exclude) == (9, ["B/1"])
    assert (asked[1].output, asked[1].num_workers) == (Path("elsewhere"), 0)


def test_another_data_set_does_not_inherit_what_the_project_says_of_its_own(
    asked: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    assert run(["validate", "other"]) == 0
    assert run(["pack", "--input", "other"]) == 0
    assert asked[0].exclude == [] and asked[0].text_extension == ".txt"
    assert asked[1].exclude == [] and asked[1].output == Path("other/protos")
    assert run(["pack", "--input", "voices"]) == 0
    assert asked[2].output == tmp_path / "packed"


def test_the_readmes_merge_needs_only_what_the_project_lacks(asked: list[Any], tmp_path: Path) -> None:
    checkpoint = "results/yoona/checkpoints/step_000000300.ckpt"
    assert run(["merge", "--lora-weight", checkpoint, "--output", "checkpoints/yoona-merged"]) == 0
    (settings,) = asked
    assert settings.base_weight == tmp_path / "base"
    assert settings.lora_weight == Path(checkpoint)
    assert settings.output == Path("checkpoints/yoona-merged")
    assert settings.link


def test_merging_without_a_checkpoint_says_where_to_name_one(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["merge"]) == 2
    assert "names no checkpoint to merge" in capsys.readouterr().err


def test_without_a_project_missing_flags_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["merge", "--output", "x"]) == 2
    assert "--base-weight is missing." in capsys.readouterr().err
    assert run(["merge", "--output", "x", "--base-weight", "y"]) == 2
    assert "--lora-weight is missing." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'name = "a"\n[train]\nlearning_rate = 1,5\n', "Numbers take a decimal point: learning_rate = 1.5"),
        (b'name = "a"\n[train]\nsteps = 3\n', "train.steps is not a known key"),
        (b"name = " + b"[" * 100_000, "lie more than 64 deep"),
        (b'name = "a"\n[train]\nmax_steps = ' + b"9" * 5000, "it holds a value that cannot be read"),
        (b'name = "\xff"', "it is not UTF-8 text"),
        (b'name = "a\\u0000"', "name: it is used as a folder name"),
        (b'name = "a"\n[dataset]\npath = "~nobody-of-that-name/x"', "there is no home folder for ~nobody-of"),
        (b'name = "a"\n[dataset]\npath = "a\\u0000b"', "a path cannot hold a NUL character"),
        (b'name = "a"\n[merge]\noutput = "' + b"x" * 300 + b'"', "longer than file systems allow"),
        (b'name = "' + "가".encode() * 80 + b'"', "longer than 200 bytes"),
    ],
)
@pytest.mark.parametrize("command", [["validate"], ["train"], ["pack"], ["run", "--dry-run"]])
def test_a_project_file_that_cannot_be_read_ends_the_command_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    what: str,
    command: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fishtune.toml").write_bytes(content)
    assert run(command) == 2
    shown = capsys.readouterr().err
    assert "fishtune.toml" in shown and what in shown
    assert "Traceback" not in shown


def test_jobs_are_seen_even_where_the_project_file_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fishtune.toml").write_text("name = [")
    assert run(["jobs"]) == 0
    assert "is not valid TOML" in capsys.readouterr().err


def test_a_project_file_saved_by_notepad_is_read(tmp_path: Path) -> None:
    text = (
        'name = "one"\n\n[train]\nlora_config = "r_8_alpha_16"\nlearning_rate = 0.005\nbatch_tokens = 512\n'
    )
    (tmp_path / "fishtune.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    project = Project.load(tmp_path)
    assert (project.name, project.train.learning_rate) == ("one", 0.005)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="files of another user need root")
def test_a_project_file_of_another_user_above_this_folder_is_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "shared" / "mine"
    mine.mkdir(parents=True)
    planted = tmp_path / "shared" / "fishtune.toml"
    planted.write_text('name = "planted"\n')
    os.chown(planted, 65534, 65534)
    monkeypatch.chdir(mine)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert running.find_project() is None
    assert "belongs to another user and is not used" in capsys.readouterr().err
    os.chown(mine, 65534, 65534)  # his own folder: root works there for him
    found = running.find_project()
    assert found is not None and found.name == "planted"
