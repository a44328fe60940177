"""The demo: embedded recordings, a project that is never put over anything else, the whole chain."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import soundfile
from fishtune.core.cli.app import run as cli
from fishtune.core.config.settings import ValidateSettings
from fishtune.core.dataset.findings import FindingKind, Severity
from fishtune.core.demo.project import MARKER, RECORDINGS, make_demo
from fishtune.core.errors import UsageError
from fishtune.core.events import Reporter
from fishtune.core.shards.index import ShardIndex
from fishtune.core.stages.validate.run import run as validate


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    make_demo(tmp_path / "demo")
    return tmp_path / "demo"


def test_the_embedded_recordings_are_small_and_of_every_kind() -> None:
    folder = resources.files("fishtune.core.demo").joinpath("data")
    files = [file for speaker in folder.iterdir() for file in speaker.iterdir()]
    assert sum(len(file.read_bytes()) for file in files) < 400_000
    assert {Path(file.name).suffix for file in files} == {".mp3", ".wav", ".flac", ".lab"}


def test_the_recordings_are_sound_and_show_what_validation_finds(demo: Path) -> None:
    report = validate(ValidateSettings(data=demo / RECORDINGS, num_workers=1), Reporter())
    assert (len(report.speakers), report.clips) == (2, 12)
    assert {finding.severity for finding in report.findings} == {Severity.WARNING}
    assert {finding.code for finding in report.findings} == {
        FindingKind.TEXT_STRIPPED,
        FindingKind.LOUDNESS_SPREAD,
        FindingKind.TOO_LITTLE,
    }
    lengths = [soundfile.info(path).duration for path in demo.rglob("*.*") if path.suffix in (".mp3", ".wav")]
    assert all(1 <= length <= 3.1 for length in lengths)


def test_a_demo_that_was_interrupted_is_completed_and_a_changed_one_kept(demo: Path) -> None:
    project_file = demo / "fishtune.toml"
    changed = project_file.read_text(encoding="utf-8").replace("max_steps = 36", "max_steps = 12")
    project_file.write_text(changed, encoding="utf-8")
    (demo / RECORDINGS / "amy" / "rain.wav").unlink()
    (demo / RECORDINGS / "yuna" / "nalssi.lab").write_text("다른 말", encoding="utf-8")
    project = make_demo(demo)
    assert project.train.max_steps == 12
    assert (demo / RECORDINGS / "amy" / "rain.wav").is_file()
    assert (demo / RECORDINGS / "yuna" / "nalssi.lab").read_text(encoding="utf-8") == "다른 말"


def test_a_folder_with_other_things_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds other things than the demo"):
        make_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert cli(["demo", str(tmp_path / "thesis.tex")]) == 2
    assert "is a file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    make_demo(tmp_path / "empty")
    assert (tmp_path / "empty" / MARKER).is_file()


def test_the_checkpoint_command_writes_a_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["demo-checkpoint", str(tmp_path / "base"), "--seed", "3"]) == 0
    assert (tmp_path / "base" / "model.pth").is_file()
    assert cli(["demo-checkpoint", str(tmp_path / "base")]) == 2
    assert cli(["demo-checkpoint", str(tmp_path / "other"), "--shape", "huge"]) == 2


@pytest.mark.slow
def test_the_whole_chain_runs_on_it_and_a_second_run_finds_everything_done(tmp_path: Path) -> None:
    def run() -> str:
        command = [sys.executable, "-P", "-m", "fishtune.core.cli", "demo", "my demo"]
        # Without the test session's limit of one thread: as a person runs it.
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    first = run()
    folder = tmp_path / "my demo"
    index = ShardIndex.open(folder / "data" / "protos")
    assert (len(index), index.speakers, index.num_codebooks) == (12, ["amy", "yuna"], 10)
    assert sorted((folder / "results/demo/checkpoints").glob("step_*.ckpt"))[-1].name == "step_000000036.ckpt"
    assert (folder / "checkpoints/demo-merged/model.pth").is_file()
    assert soundfile.info(folder / "hello.wav").samplerate == 44_100
    assert "fishtune-tui 'my demo'" in first
    weights = (folder / "checkpoints/demo-merged/model.pth").stat().st_mtime_ns
    assert "merge: up to date" in run()
    assert (folder / "checkpoints/demo-merged/model.pth").stat().st_mtime_ns == weights
