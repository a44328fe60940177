"""What no command can use, an argument or the working folder, ends every command with a sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from fishtune.core.cli.app import command as whole_command
from fishtune.core.cli.app import run as cli

from .commands_kit import in_one_program, told_apart

KOREAN = os.fsdecode("유나".encode("cp949"))
STATED = {"text": "Hello."}


def _parameters() -> list[tuple[str, Any, list[str]]]:
    """Return every command with each of its parameters that take a path, and what else it needs."""
    found = []
    for name, command in whole_command().commands.items():
        kinds = get_type_hints(command.callback) if hasattr(command, "params") else {}
        for parameter in getattr(command, "params", []):
            if Path not in (kinds.get(parameter.name), *get_args(kinds.get(parameter.name))):
                continue
            needed = []
            for other in command.params:
                if other.required and other is not parameter:
                    value = STATED.get(other.name, f"no-{other.name}")
                    needed += [value] if other.param_type_name == "argument" else [other.opts[0], value]
            found.append((name, parameter, needed))
    return found


def _given(parameter: Any, value: str) -> list[str]:
    return [value] if parameter.param_type_name == "argument" else [f"{max(parameter.opts, key=len)}={value}"]


@pytest.mark.parametrize(
    "value",
    ["a\0b", "~no-such-user/x", "가" * 100, "x/" * 3000, f"a/{KOREAN}/b"],
    ids=["nul", "nobody", "long", "deep", "cp949"],
)
def test_an_argument_that_no_path_can_be_ends_every_command_with_a_sentence(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, parameter, needed in _parameters():
        if name in ("demo", "doctor", "demo-checkpoint") and value.startswith("~"):
            continue  # a folder of that name is made in the working folder
        code = cli([name, *needed, *_given(parameter, value)])
        said = capsys.readouterr().err
        assert "bug in fishtune" not in said, (name, parameter.name)
        assert code in ((2,) if "\0" in value or KOREAN in value else (0, 1, 2)), (name, parameter.name)
        said.encode("utf-8")


MISTYPED = [
    "extract gone",
    "extract . --checkpoint-path gone/codec.pth",
    "train --project me --base gone",
    "train --project me --base {base} --protos gone",
    "train --project me --base {base} --protos . --resume gone.ckpt",
    "merge --base-weight {base} --lora-weight gone.ckpt --output out",
    "merge --base-weight gone --lora-weight . --output out",
    "synth --checkpoint gone --text Hello --out a.wav",
    "synth --checkpoint {base} --text Hello --out a.wav --ref-audio gone.wav",
    "synth --checkpoint {base} --average gone.ckpt --text Hello --out a.wav",
    "audition ./gone",
    "audition {base} --base-weight gone",
    "audition {base} --reference gone.wav",
    "verify gone",
    "judge . --reference gone.wav",
    "prepare . out --keep-voice gone.wav",
    "prepare out --edits gone.json",
    "estimate --base gone",
]


def test_a_path_that_is_not_there_is_named_before_torch_is_loaded(tmp_path: Path, golden: Path) -> None:
    commands = [[part.format(base=golden / "base") for part in command.split()] for command in MISTYPED]
    program = in_one_program(commands, before="sys.modules['torch'] = None")
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
    for command, ended in zip(MISTYPED, told_apart(done.stderr), strict=True):
        error = ended.said[ended.said.find("error: ") :]
        assert ended.code in (1, 2) and error.startswith("error: "), command
        assert "gone" in error.splitlines()[0], command


def test_a_working_folder_whose_name_is_not_utf_8_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / KOREAN
    (folder / "S").mkdir(parents=True)
    (folder / "S/a.wav").write_bytes(b"")
    before = sorted(map(os.fsencode, tmp_path.rglob("*")))
    commands = [
        "validate .",
        "pack --input .",
        "extract .",
        "init",
        "jobs",
        "run",
        "loudness-norm . ../out",
        "presets",
    ]
    program = in_one_program(command.split() for command in commands)
    done = subprocess.run(program, cwd=folder, capture_output=True, check=True)
    for command, ended in zip(commands, told_apart(done.stderr.decode("utf-8")), strict=True):
        assert ended.code == 2, command
        lines = ended.said.splitlines()
        assert len(lines) == 2, command
        assert lines[0] == (
            f"error: The name of the working folder, {tmp_path}/\\xc0\\xaf\\xb3\\xaa, is not UTF-8."
        )
    assert sorted(map(os.fsencode, tmp_path.rglob("*"))) == before


def test_a_working_folder_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    program = "import os, sys; os.rmdir(os.getcwd()); from fishtune.core.cli.app import run; sys.exit(run())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "jobs"],
        cwd=tmp_path / "gone",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: The working folder cannot be used (")


def test_folders_of_the_data_set_that_are_not_utf_8_are_findings_of_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], golden: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / KOREAN).mkdir(parents=True)
    (tmp_path / "data" / KOREAN / "a.wav").write_bytes(b"")
    shown = "data/\\xc0\\xaf\\xb3\\xaa"
    assert cli(["validate", "data", "--json"]) == 1
    assert shown in [finding["path"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    for arguments in (
        ["pack", "--input", "data"],
        ["loudness-norm", "data", "out"],
        ["extract", "data", "--checkpoint-path", str(golden / "base/codec.pth"), "--device", "cpu"],
    ):
        assert cli(arguments) == 1
        assert f"The name of {shown} is not UTF-8." in capsys.readouterr().err


def test_a_folder_among_the_results_whose_name_is_not_utf_8_does_not_end_the_list_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / KOREAN / "jobs").mkdir(parents=True)
    assert cli(["jobs"]) == 0
    capsys.readouterr().out.encode("utf-8")


@pytest.mark.parametrize("name", ["x" * 201, "가" * 67])
def test_a_name_of_a_run_that_is_too_long_for_a_folder_is_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli(["init", "--name", name]) == 2
    assert "it is used as a folder name, and is longer than 200 bytes" in capsys.readouterr().err
    assert cli(["init", "--name", name[:66]]) == 0
