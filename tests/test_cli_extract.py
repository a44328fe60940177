"""`fishtune extract`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fishtune.core.cli.app import run

from .extract_kit import CODEC, write_clip

FLAGS = ["--checkpoint-path", str(CODEC), "--device", "cpu"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of two clips, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        write_clip(tmp_path / f"data/SPK/{number}.wav", 0.3, number)
    return tmp_path / "data"


def test_progress_goes_to_standard_error_and_the_outcome_to_standard_output(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["extract", "data", *FLAGS, "--num-workers", "2", "--batch-size", "1"]) == 0
    shown = capfd.readouterr()
    first, second = shown.out.splitlines()
    assert first.startswith("Encoded 2 clips, 1 s of audio, in ") and first.endswith("× real time")
    assert second == "Codes of 2 of 2 clips are in data"
    assert "Encoding 2 of 2 clips, 1 s of audio, on cpu." in shown.err
    assert "clips: 2/2 clips (100%)" in shown.err and "× real time" in shown.err
    assert run(["extract", *FLAGS]) == 0
    assert capfd.readouterr().out == "Nothing was left to encode.\nCodes of 2 of 2 clips are in data\n"


def test_failures_are_listed_at_the_end_and_the_exit_code_is_0(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (data / "SPK/[laugh].wav").touch()
    assert run(["extract", "data", *FLAGS]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("failed: SPK/[laugh]: data/SPK/[laugh].wav is empty (0 bytes). ")
    assert lines[-1] == "Codes of 2 of 3 clips are in data"


def test_json_is_the_whole_of_standard_output(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["extract", "data", *FLAGS, "--json"]) == 0
    shown = capfd.readouterr()
    summary = json.loads(shown.out)
    assert (summary["clips"], summary["encoded"], summary["failed"]) == (2, 2, [])
    assert shown.err == ""


def test_what_fails_as_a_whole_exits_with_1_and_wrong_use_with_2(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["extract", "gone", *FLAGS]) == 1
    assert "error: gone does not exist." in capfd.readouterr().err
    assert run(["extract", "data", "--checkpoint-path", "gone/codec.pth", "--device", "cpu"]) == 1
    assert "gone/codec.pth does not exist" in capfd.readouterr().err
    assert run(["extract", "data", *FLAGS, "--batch-size", "0"]) == 2
    assert run(["extract", "data", *FLAGS, "--device", "gpu"]) == 2
    assert "There is no device 'gpu'" in capfd.readouterr().err
